"""A picture lends its style to those that a WebUI makes, whatever samples them.

In the stand-alone host the style picture has rows of its own in each call of the UNet. A WebUI lays out the
rows itself, so here it gets a call of its own, before the first one of each evaluation of the model; its keys
and values count for all calls of that evaluation (:func:`lib_uniid.attention.sharing.shared`).
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
from lib_uniid.hosts.inversion import Trajectory, invert
from lib_uniid.hosts.webui.a1111 import A1111People
from lib_uniid.hosts.webui.attachment import is_forge, predicts_velocity, unet_of
from lib_uniid.hosts.webui.forge import ForgePeople
from lib_uniid.pipeline import fitted
from lib_uniid.typing import Float

STEPS = 25
"""Of the inversion; each is one row through the UNet, once for each size."""


@dataclass(slots=True, kw_only=True, eq=False)
class Style:
    """A picture's latents at the size that is sampled, what the host reads out of no words, and a strength.

    The inversion is kept with it, and is that of ``inverted_by``.
    """

    latents: Float[Tensor, "1 4 rows columns"]
    text: Float[Tensor, "1 t d"]
    strength: float
    base: Base
    trajectory: Trajectory | None = None
    inverted_by: nn.Module | None = None


def prepare(
    p: Any,
    asked: StyleSettings,
    latent_size: tuple[int, int],
    base: Base,
    encode: Callable[[Any, Tensor], Tensor],
) -> Style:
    """Have the host encode the picture at the size of latents in (rows, columns), before it samples."""
    pixels = torch.from_numpy(fitted(asked.picture, latent_size, base.pixels)).float() / 255.0
    # The hosts draw the latents by torch's own random state; it is left as it was.
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        latents = encode(p, rearrange(pixels, "h w c -> 1 c h w"))
    return Style(
        latents=latents.detach(),
        text=p.sd_model.get_learned_conditioning([""]).detach(),
        strength=asked.strength,
        base=base,
    )


class Styled:
    """People on a UNet, and with them a style; see :class:`lib_uniid.hosts.webui.attachment.Attachment`.

    The picture is inverted in the first call of the UNet, when the host has it where it belongs: with
    the people's LoRA in it, which the stand-alone host's inversion is without.
    """

    def __init__(
        self, p: Any, sites: tuple[Site, ...], people: A1111People | ForgePeople, style: Style
    ) -> None:
        self.people, self.style, self.unet = people, style, unet_of(p)
        self._options: dict[str, Any] = {"transformer_options": {}} if is_forge(p) else {}
        self._velocity = predicts_velocity(p)
        self._behind = True
        sharing = Sharing(score_shift=math.log(style.strength))
        with ExitStack() as stack:
            stack.callback(people.release)
            stack.enter_context(shared(sites, sharing, people.rows, keep=True))
            stack.callback(self.unet.register_forward_pre_hook(self._ahead, with_kwargs=True).remove)
            self._stack = stack.pop_all()

    def holds(self, p: Any) -> bool:
        return self.people.holds(p)

    def step(self, params: Any) -> None:
        self._behind = True
        self.people.step(params)

    @property
    def called(self) -> bool:
        return self.people.called

    def require(self, *, seen: bool) -> None:
        self.people.require(seen=seen)

    def notes(self) -> list[str]:
        return self.people.notes()

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        return self.people.row_of(picture, pictures, rows)

    def release(self) -> None:
        self._stack.close()

    def _ahead(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._behind:
            return
        self._behind = False
        x: Tensor = args[0] if args else kwargs["x"]
        timesteps: Tensor = args[1] if len(args) > 1 else kwargs["timesteps"]
        rows, style = self.people.rows, self.style
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
        """The UNet's own forward: what others put in its place on the module is for the host's rows."""
        # An inpainting model's further channels say the same of every picture.
        given = torch.cat([latents.to(x), x[:1, latents.shape[1] :]], dim=1)
        self.style.text = text = self.style.text.to(x)  # a copy only in the first call
        return type(self.unet).forward(self.unet, given, timestep.to(x.device), context=text, **self._options)
