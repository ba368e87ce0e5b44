"""The stand-alone host: Stable Diffusion on diffusers' networks and schedulers, with its own sampling loop.

A diffusers pipeline hides the roles of the batch rows, decodes, and draws its noise on the device.
This loop draws each picture's noise on the CPU from its seed, so a seed gives the same picture alone, in a
batch and on another device (up to rounding).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from einops import rearrange, repeat
from torch import Generator, Tensor, nn

from lib_uniid.attention.rows import Role, Rows
from lib_uniid.bases import Base
from lib_uniid.config import GenerationSettings
from lib_uniid.errors import ConfigError
from lib_uniid.host import NO_OPTIONS, Picture, Progress, SamplingOptions, no_progress
from lib_uniid.hosts.diffusers.loading import from_file, from_folder
from lib_uniid.hosts.diffusers.schedulers import inverse_scheduler, scheduler, takes_generator
from lib_uniid.hosts.diffusers.text_encoders import DiffusersTextEncoders
from lib_uniid.hosts.finite import STANDALONE, require_finite
from lib_uniid.typing import Float, UInt8

Network = TypeVar("Network", bound=nn.Module)

STANDARD_WIDTH = 128
"""Channels of the first block of Stable Diffusion's VAE."""


def rough_colours(
    latents: Float[Tensor, "pictures channels rows columns"], base: Base
) -> UInt8[Tensor, "pictures rows columns 3"]:
    """Approximate colours of a base family's latents: a linear map to RGB, one pixel per latent."""
    factors = torch.tensor(base.latent_colours, dtype=latents.dtype, device=latents.device)
    colours = rearrange(latents, "n c h w -> n h w c") @ factors
    return ((colours / 2 + 0.5).clamp(0, 1) * 255).round().byte()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersHost:
    """A Stable Diffusion model ready to sample; see :class:`lib_uniid.host.Host`."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: DiffusersTextEncoders
    prediction: str
    base: Base

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> "DiffusersHost":
        """Load a single-file checkpoint or a diffusers folder.

        The VAE and the text models stay in float32: they run once, and the VAE overflows in float16.
        """
        parts = from_folder(path) if path.is_dir() else from_file(path)
        texts = [_put(one, device, torch.float32) for one in parts.text_models]
        return cls(
            unet=_put(parts.unet, device, dtype),
            vae=_put(parts.vae, device, torch.float32),
            text_encoders=DiffusersTextEncoders(texts, parts.base.text_encoders),
            prediction=parts.prediction,
            base=parts.base,
        )

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def side(self) -> int:
        return self.unet.config["sample_size"] * self.base.pixels

    def overlong(self, prompt: str, tokens: int = 0) -> str:
        return self.text_encoders.overlong(prompt, tokens)

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "p t d"]:
        return self.text_encoders.encode(prompts).states.to(self.dtype)

    @torch.no_grad()
    def invert(
        self, picture: Picture, steps: int, *, progress: Progress = no_progress
    ) -> Float[Tensor, "steps channels rows columns"]:
        # The official demo uses CFG scale 2 between "" and "", which is equal to one row.
        schedule = inverse_scheduler(self.base, self.prediction)
        schedule.set_timesteps(steps)
        conditions, latents = self._conditions([""], *picture.shape[:2]), self._encode(picture)
        passed: list[Tensor] = []
        for number, (timestep, on_device) in enumerate(self._with_device_copies(schedule.timesteps)):
            prediction = self._predict(latents, on_device, conditions, cfg_scale=1.0)
            latents = schedule.step(prediction, timestep, latents).prev_sample
            passed.append(latents)
            progress(number + 1, steps)
        return torch.cat(passed[::-1])

    @torch.no_grad()
    def sample(
        self, settings: GenerationSettings, seeds: Sequence[int], options: SamplingOptions = NO_OPTIONS
    ) -> Float[Tensor, "pictures channels rows columns"]:
        rows, style = options.rows or Rows(()), options.style
        lead = 0 if style is None else 1
        rows.roles = _roles(settings, len(seeds), lead)
        generators = [Generator("cpu").manual_seed(seed) for seed in seeds]
        schedule = scheduler(settings.sampler, self.base, self.prediction)
        schedule.set_timesteps(settings.steps)
        height, width = settings.height or self.side, settings.width or self.side
        noise = self._noise(generators, height, width)
        timesteps, latents = self._begin(schedule, settings, noise, options.start)
        style_latents = None if style is None else _checked_style(style, settings, latents)[-len(timesteps) :]
        conditions = self._conditions(_prompts(settings, len(seeds), lead), height, width)
        drawn = {"generator": generators} if takes_generator(schedule) else {}
        skipped = len(schedule.timesteps) - len(timesteps)
        for number, (timestep, on_device) in enumerate(self._with_device_copies(timesteps)):
            rows.progress = (skipped + number) / len(schedule.timesteps)
            scaled = schedule.scale_model_input(latents, timestep)
            if style_latents is not None:
                scaled = torch.cat([style_latents[number : number + 1], scaled])
            prediction = self._predict(scaled, on_device, conditions, settings.cfg_scale)[lead:]
            stepped = schedule.step(prediction, timestep, latents, **drawn)
            latents, clean = stepped.prev_sample, getattr(stepped, "pred_original_sample", None)
            options.preview(partial(self._rough, latents if clean is None else clean))
            options.progress(number + 1, len(timesteps))
        require_finite(latents, "latents", STANDALONE)
        return latents

    def _with_device_copies(self, timesteps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each timestep on the CPU for the scheduler's tables, and on the device for the UNet; no syncs."""
        return zip(timesteps, timesteps.to(self.device), strict=True)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "pictures channels rows columns"]) -> list[Picture]:
        return [self._decode_one(rearrange(one, "c h w -> 1 c h w")) for one in latents]

    @torch.no_grad()
    def _rough(self, latents: Float[Tensor, "pictures channels rows columns"]) -> list[Picture]:
        """Small pictures: one pixel per latent, or decoded if the VAE is narrow and so fast enough."""
        if self.vae.config["block_out_channels"][0] < STANDARD_WIDTH:
            return self.decode(latents)
        return list(rough_colours(latents.float(), self.base).cpu().numpy())

    def _decode_one(self, latents: Float[Tensor, "1 channels rows columns"]) -> Picture:
        pixels = self.vae.decode(latents.float() / self.vae.config["scaling_factor"], return_dict=False)[0]
        require_finite(pixels, "pixels of the decoded picture", STANDALONE)
        pixels = (pixels / 2 + 0.5).clamp(0, 1) * 255
        return rearrange(pixels.round().byte().cpu().numpy(), "1 c h w -> h w c").copy()

    def _encode(self, picture: Picture) -> Float[Tensor, "1 channels rows columns"]:
        """The mode of the VAE's distribution: only the sampler draws noise."""
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(self.device).float() / 127.5 - 1.0
        (distribution,) = self.vae.encode(rearrange(pixels, "h w c -> 1 c h w"), return_dict=False)
        return distribution.mode() * self.vae.config["scaling_factor"]

    def _noise(
        self, generators: list[Generator], height: int, width: int
    ) -> Float[Tensor, "pictures channels rows columns"]:
        shape = (self.base.latent_channels, height // self.base.pixels, width // self.base.pixels)
        return torch.stack([torch.randn(shape, generator=one) for one in generators]).to(self.device)

    def _begin(
        self,
        schedule: Any,
        settings: GenerationSettings,
        noise: Float[Tensor, "pictures channels rows columns"],
        start: Picture | None,
    ) -> tuple[Tensor, Float[Tensor, "pictures channels rows columns"]]:
        """The timesteps to sample and the latents to start with."""
        if start is None:
            return schedule.timesteps, noise * schedule.init_noise_sigma
        height, width = (side * self.base.pixels for side in noise.shape[2:])
        if start.shape[:2] != (height, width):
            raise ConfigError(
                f"the start picture must be {width} x {height} px, got {start.shape[1]} x {start.shape[0]} px"
            )
        skipped = settings.steps - max(1, round(settings.steps * settings.strength))
        timesteps = schedule.timesteps[skipped * schedule.order :]
        clean = self._encode(start).expand_as(noise)
        return timesteps, schedule.add_noise(clean, noise, timesteps[:1].expand(len(noise)))

    def _conditions(self, prompts: Sequence[str], height: int, width: int) -> dict[str, Any]:
        """The keywords of a UNet call; the text has one row per prompt.

        With a pooled text the UNet reads the size, too. The picture is said to be whole and of its own size,
        as in diffusers.
        """
        text = self.text_encoders.encode(prompts)
        conditions: dict[str, Any] = {"encoder_hidden_states": text.states.to(self.dtype)}
        if text.pooled is not None:
            sizes = torch.tensor([height, width, 0, 0, height, width], dtype=self.dtype, device=self.device)
            conditions["added_cond_kwargs"] = {
                "text_embeds": text.pooled.to(self.dtype),
                "time_ids": repeat(sizes, "numbers -> b numbers", b=len(prompts)),
            }
        return conditions

    def _predict(
        self,
        latents: Float[Tensor, "pictures channels rows columns"],
        timestep: Tensor,
        conditions: dict[str, Any],
        cfg_scale: float,
    ) -> Float[Tensor, "pictures channels rows columns"]:
        batch = latents if cfg_scale <= 1.0 else torch.cat([latents, latents])
        (predicted,) = self.unet(batch.to(self.dtype), timestep, **conditions, return_dict=False)
        if cfg_scale <= 1.0:
            return predicted.float()
        uncond, cond = predicted.float().chunk(2)
        return uncond + cfg_scale * (cond - uncond)


def _roles(settings: GenerationSettings, pictures: int, lead: int) -> list[Role]:
    """The roles of the batch rows; ``lead`` is 1 if each half begins with a style picture, else 0."""
    halves = [Role.COND] if settings.cfg_scale <= 1.0 else [Role.UNCOND, Role.COND]
    return [role for half in halves for role in [Role.STYLE] * lead + [half] * pictures]


def _prompts(settings: GenerationSettings, pictures: int, lead: int) -> list[str]:
    """The prompts of the batch rows, as in ``_roles``. The whole uncond half has the negative prompt."""
    cond = [""] * lead + [settings.prompt] * pictures
    return cond if settings.cfg_scale <= 1.0 else [settings.negative_prompt] * (lead + pictures) + cond


def _checked_style(
    style: Tensor, settings: GenerationSettings, latents: Tensor
) -> Float[Tensor, "steps channels rows columns"]:
    """The style picture's latents; ``ConfigError`` if size or steps differ from the generation's."""
    wanted = (settings.steps, *latents.shape[1:])
    if style.shape != wanted:
        raise ConfigError(
            f"the inverted style picture must have the shape {wanted}, got {tuple(style.shape)}; "
            "invert it at the size and in the number of steps of the generation"
        )
    return style


def _put(module: Network, device: torch.device, dtype: torch.dtype) -> Network:
    """``module.to`` without diffusers' own, which warns of any change of precision."""
    nn.Module.to(module, device=device, dtype=dtype)
    return module
