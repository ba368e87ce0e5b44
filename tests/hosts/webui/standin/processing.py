"""One generation, from ``setup`` to ``postprocess``, in the order that both hosts have."""

import json
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.hosts.webui.standin.script_api import Callbacks, Script
from tests.narrow import TEXT_WIDTH

TOKENS, WORDS = 77, 12
"""Rows of a text's encoding per chunk, and words that a chunk holds (fewer than the real 75, to be brief)."""

Subprompts = list[Tensor]


class InterruptedSampling(Exception):  # noqa: N818, the hosts' own name for it has no suffix either
    """Raised inside the denoiser and caught by the sampler."""


@dataclass
class Runner:
    """The scripts of a tab; a hook that raises is reported, and the generation goes on."""

    scripts: list[Script]
    raised: list[Exception] = field(default_factory=list[Exception])

    def run(self, hook: str, p: "Processing", *args: Any, **kwargs: Any) -> None:
        for script in self.scripts:
            own = p.script_args[script.args_from : script.args_to]
            try:
                getattr(script, hook)(p, *args, *own, **kwargs)
            except Exception as error:
                self.raised.append(error)


@dataclass(repr=False)  # with __eq__ and so without __hash__, as in the host
class Processing:
    """What is to be generated."""

    host: Any
    prompt: str = "a park"
    negative_prompt: str = ""
    seed: int = 1
    steps: int = 2
    cfg_scale: float = 3.0
    width: int = 64
    height: int = 64
    batch_size: int = 1
    n_iter: int = 1
    enable_hr: bool = False
    scripts: Runner | None = None
    script_args: list[Any] = field(default_factory=list[Any])
    extra_generation_params: dict[str, Any] = field(default_factory=dict[str, Any])
    networks: tuple[tuple[str, float], ...] = ()
    hr_networks: tuple[tuple[str, float], ...] | None = None
    comments: list[str] = field(default_factory=list[str])
    is_hr_pass: bool = False
    latents: list[Tensor] = field(default_factory=list[Tensor])

    @property
    def sd_model(self) -> Any:
        return self.host.sd_model

    def comment(self, text: str) -> None:
        self.comments.append(text)

    def run(self, hook: str, *args: Any, **kwargs: Any) -> None:
        if self.scripts is not None:
            self.scripts.run(hook, self, *args, **kwargs)


@dataclass
class Processed:
    """The result."""

    images: list[Image.Image]
    infotexts: list[str]
    comments: list[str]
    extra_generation_params: dict[str, Any]


@dataclass
class PostprocessImageArgs:
    """What ``postprocess_image`` may change."""

    image: Image.Image


def process_images(p: Processing) -> Processed:
    """Everything but the API; the caller holds the queue's lock."""
    host = p.host
    p.run("before_process")
    host.load_model()
    p.run("process")
    images: list[Image.Image] = []
    infotexts: list[str] = []
    for number in range(p.n_iter):
        host.begin_batch()
        host.activate(p.networks)
        with host.sampling_mode():
            latents = _sample(p, number)
            p.latents.append(latents)
            decoded = host.decode(latents)
            p.run("postprocess_batch", images=decoded, batch_number=number)
            for picture in decoded:
                pp = PostprocessImageArgs(image=picture)
                p.run("postprocess_image", pp)
                images.append(pp.image)
                infotexts.append(create_infotext(p))
        if host.interrupted:
            break
    host.interrupted = False
    processed = Processed(images, infotexts, p.comments, p.extra_generation_params)
    p.run("postprocess", processed)
    return processed


def _sample(p: Processing, number: int) -> Tensor:
    noise = torch.stack(
        [_noise(p, number * p.batch_size + n, p.height, p.width) for n in range(p.batch_size)]
    )
    p.is_hr_pass = False
    latents = _pass(p, noise, noise, p.host.start_sigma)
    if not p.enable_hr:
        return latents
    p.is_hr_pass = True
    big = torch.nn.functional.interpolate(latents, scale_factor=2.0, mode="nearest")
    noise = torch.stack([_noise(p, 1000 + n, 2 * p.height, 2 * p.width) for n in range(p.batch_size)])
    if p.hr_networks is not None:
        p.host.activate(p.hr_networks)
    return _pass(p, big, noise, 0.5 * p.host.start_sigma)


def _pass(p: Processing, x: Tensor, noise: Tensor, sigma: float) -> Tensor:
    cond = [encode_all(p.prompt) for _ in range(p.batch_size)]
    uncond = [encode(p.negative_prompt) for _ in range(p.batch_size)]
    p.host.before_sampling(p, x=x, noise=noise, c=cond, uc=uncond)
    start = noise * sigma if x is noise else x + noise * sigma
    return p.host.sample(p, start, sigma, cond, uncond)


def _noise(p: Processing, offset: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(p.seed + offset)
    return torch.randn(4, height // 8, width // 8, generator=generator)


def encode_all(prompt: str) -> Subprompts:
    """One encoding per subprompt."""
    return [encode(part) for part in prompt.split(" AND ")]


def read(prompts: list[str]) -> Tensor:
    """What a model of the host makes of texts."""
    return torch.stack([encode(one) for one in prompts])


def encode(text: str) -> Tensor:
    """``t d``: 77 rows per chunk of words, random by the text."""
    chunks = len(text.split()) // WORDS + 1
    generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
    return torch.randn(TOKENS * chunks, TEXT_WIDTH, generator=generator)


def euler(denoise: Any, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """One evaluation per step; an interrupt ends with the latest latent."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        try:
            denoised = denoise(x, sigma, step)
        except InterruptedSampling:
            return x
        x = x + (x - denoised) / sigma * (after - sigma)
    return x


def images_tensor_to_samples(image: Tensor, approximation: int | None, model: Any) -> Tensor:
    """No VAE: the colours and their mean, an eighth as wide and high, with the noise that the hosts add."""
    small = torch.nn.functional.avg_pool2d(2.0 * image - 1.0, 8)
    latents = torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1)
    return latents + 0.01 * torch.randn_like(latents)


def project(latents: Tensor) -> list[Image.Image]:
    """Three channels as colours, eight times as wide and high: no VAE, but every latent shows."""
    colours = (latents[:, :3].sigmoid() * 255).round().byte().repeat_interleave(8, 2).repeat_interleave(8, 3)
    return [Image.fromarray(np.ascontiguousarray(one.permute(1, 2, 0).numpy())) for one in colours]


# --- infotext ---

PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def create_infotext(p: Processing) -> str:
    values = {"Steps": p.steps, "Seed": p.seed, "CFG scale": p.cfg_scale, **p.extra_generation_params}
    written = [f"{key}: {_quote(str(value))}" for key, value in values.items() if value is not None]
    return f"{p.prompt}\nNegative prompt: {p.negative_prompt}\n{', '.join(written)}"


def parse_infotext(text: str) -> dict[str, str]:
    found = PARAMETER.findall(text.strip().split("\n")[-1])
    return {key: json.loads(value) if value.startswith('"') else value for key, value in found}


def _quote(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(",:\n") else value


class Host(ABC):
    """What the two hosts have in common."""

    start_sigma = 14.0

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks
        self.interrupted = False
        self.interrupt_at: int | None = None
        self.evaluations = 0
        self.decode = project
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        products = torch.cumprod(1 - betas, 0)
        self.sigmas = ((1 - products) / products).sqrt()

    def sigmas_from(self, sigma: float, steps: int) -> list[float]:
        return [*torch.linspace(sigma, 0.3, steps).tolist(), 0.0]

    def count_evaluation(self) -> None:
        """Before anything else in a denoiser."""
        if self.interrupted:
            raise InterruptedSampling
        self.evaluations += 1
        if self.interrupt_at is not None and self.evaluations > self.interrupt_at:
            self.interrupted, self.interrupt_at = True, None
            raise InterruptedSampling

    @abstractmethod
    def new_denoiser(self, p: Processing) -> "AnyDenoiser":
        """What evaluates the model in each step of one sampling."""

    def sample(
        self, p: Processing, x: Tensor, sigma: float, cond: list[Subprompts], uncond: list[Tensor]
    ) -> Tensor:
        denoiser = self.new_denoiser(p)
        sigmas = self.sigmas_from(sigma, p.steps)
        return euler(lambda x, sigma, step: denoiser(x, sigma, step, cond, uncond), x, sigmas)

    def scaled(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The UNet's input and its timesteps."""
        step = int((self.sigmas - sigma).abs().argmin())
        return x / (sigma**2 + 1) ** 0.5, torch.full((x.shape[0],), step)


class AnyDenoiser(ABC):
    """The object that callbacks are told of."""

    def __init__(self, host: Any, p: Processing) -> None:
        self.host, self.p = host, p
        self.step, self.total_steps = 0, p.steps

    @abstractmethod
    def __call__(
        self, x: Tensor, sigma: float, step: int, conds: list[Subprompts], unconds: list[Tensor]
    ) -> Tensor:
        """One evaluation of the model, guided."""


def combine(conds: list[Tensor], uncond: Tensor, scale: float) -> Tensor:
    """Guidance of one image by all its subprompts, each of weight 1."""
    return uncond + sum((scale * (cond - uncond) for cond in conds), torch.zeros_like(uncond))
