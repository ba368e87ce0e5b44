"""The style reference in a WebUI, for any sampler.

In the stand-alone host the style picture has its own rows in each call of the UNet. A WebUI orders the rows
itself, so here the style picture has a separate call, before the first call of each evaluation of the model.
All calls of that evaluation use its keys and values (:func:`lib_uniid.attention.sharing.shared`).
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from lib_uniid.attention.rows import Role
from lib_uniid.attention.sharing import Sharing, shared
from lib_uniid.attention.sites import Site
from lib_uniid.bases import Base
from lib_uniid.config import StyleSettings
from lib_uniid.errors import ConfigError
from lib_uniid.hosts.inversion import Trajectory, invert
from lib_uniid.hosts.webui.a1111 import A1111Injection
from lib_uniid.hosts.webui.attachment import is_forge, predicts_velocity, unet_of
from lib_uniid.hosts.webui.forge import ForgeInjection
from lib_uniid.pipeline import fitted
from lib_uniid.typing import Float

STEPS = 25
"""Steps of the inversion, which runs once for each size; each step is one row through the UNet."""


@dataclass(slots=True, kw_only=True, eq=False)
class Style:
    """A style picture's latents at the sampled size, the host's text for an empty prompt, and a strength.

    ``trajectory`` is the inversion by the UNet ``inverted_by``.
    """

    latents: Float[Tensor, "1 channels rows columns"]
    text: Float[Tensor, "1 t d"]
    strength: float
    base: Base
    trajectory: Trajectory | None = None
    inverted_by: nn.Module | None = None


def prepare(
    p: Any,
    settings: StyleSettings,
    latent_size: tuple[int, int],
    base: Base,
    encode: Callable[[Any, Tensor], Tensor],
) -> Style:
    """Encode the picture with the host's VAE, before sampling; ``latent_size`` is (rows, columns).

    ``ConfigError`` for a base family with several text encoders: its UNet also reads a pooled text.
    """
    if len(base.text_encoders) > 1:
        raise ConfigError(
            f"the style reference does not work with {base.title}; load a checkpoint of another base model, "
            "or turn Style reference off",
            field="style",
        )
    pixels = torch.from_numpy(fitted(settings.picture, latent_size, base.pixels)).float() / 255.0
    # The hosts draw the latents with torch's global random state, which must not change here.
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        latents = encode(p, rearrange(pixels, "h w c -> 1 c h w"))
    return Style(
        latents=latents.detach(),
        text=p.sd_model.get_learned_conditioning([""]).detach(),
        strength=settings.strength,
        base=base,
    )


class StyledInjection:
    """Identities and a style on a UNet; see :class:`lib_uniid.hosts.webui.attachment.Attachment`.

    The picture is inverted at the first call of the UNet, when the host has loaded it. The method's LoRA is
    merged then; in the stand-alone host it is not merged during the inversion.
    """

    def __init__(
        self, p: Any, sites: tuple[Site, ...], injection: A1111Injection | ForgeInjection, style: Style
    ) -> None:
        self.injection, self.style, self.unet = injection, style, unet_of(p)
        self._options: dict[str, Any] = {"transformer_options": {}} if is_forge(p) else {}
        self._velocity = predicts_velocity(p)
        self._pending = True
        sharing = Sharing(score_shift=math.log(style.strength))
        with ExitStack() as stack:
            stack.callback(injection.release)
            stack.enter_context(shared(sites, sharing, injection.rows, keep=True))
            stack.callback(self.unet.register_forward_pre_hook(self._before_call, with_kwargs=True).remove)
            self._stack = stack.pop_all()

    def holds(self, p: Any) -> bool:
        return self.injection.holds(p)

    def step(self, params: Any) -> None:
        self._pending = True
        self.injection.step(params)

    @property
    def called(self) -> bool:
        return self.injection.called

    def require(self, *, seen: bool) -> None:
        self.injection.require(seen=seen)

    def notes(self) -> list[str]:
        return self.injection.notes()

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        return self.injection.row_of(picture, pictures, rows)

    def release(self) -> None:
        self._stack.close()

    def _before_call(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._pending:
            return
        self._pending = False
        x: Tensor = args[0] if args else kwargs["x"]
        timesteps: Tensor = args[1] if len(args) > 1 else kwargs["timesteps"]
        rows, style = self.injection.rows, self.style
        roles, rows.roles = rows.roles, (Role.STYLE,)
        try:
            if style.trajectory is None or style.inverted_by is not self.unet:
                style.trajectory = invert(
                    lambda latents, timestep: self._call(latents, timestep, x),
                    style.latents.to(x.device),
                    STEPS,
                    style.base,
                    velocity=self._velocity,
                )
                style.inverted_by = self.unet
            self._call(style.trajectory.at(timesteps[:1]), timesteps[:1], x)
        finally:
            rows.roles = roles

    def _call(self, latents: Tensor, timestep: Tensor, x: Tensor) -> Tensor:
        """Call the UNet's own forward: replacements of it by others expect the host's rows."""
        # An inpainting model's further channels are the same for every picture.
        given = torch.cat([latents.to(x), x[:1, latents.shape[1] :]], dim=1)
        self.style.text = text = self.style.text.to(x)  # copies only in the first call
        return type(self.unet).forward(self.unet, given, timestep.to(x.device), context=text, **self._options)
