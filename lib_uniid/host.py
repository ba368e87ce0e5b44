"""What the pipeline needs from whatever makes the pictures."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from lib_uniid.attention.rows import Rows
from lib_uniid.bases import Base
from lib_uniid.config import GenerationSettings
from lib_uniid.typing import Float, UInt8

Picture = UInt8[np.ndarray, "height width 3"]

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all). Raising from it cancels; everything injected comes out again."""


def no_progress(step: int, steps: int) -> None:
    """Progress that is not shown."""


Look = Callable[[], list[Picture]]
"""Makes small rough pictures of how far each picture is; only calling it costs something."""
Preview = Callable[[Look], None]
"""Called after every step with a look that is good until the next."""


def no_preview(look: Look) -> None:
    """A preview that is not shown."""


@runtime_checkable
class Host(Protocol):
    """A latent diffusion model of a known family that can be asked for pictures."""

    @property
    def base(self) -> Base:
        """The family of the model."""
        ...

    @property
    def unet(self) -> nn.Module:
        """The network whose attention sites people are injected at."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype:
        """What the UNet computes in."""
        ...

    @property
    def side(self) -> int:
        """Width and height in pixels that the model was trained on."""
        ...

    def overlong(self, prompt: str) -> str:
        """The end of ``prompt`` that the text model does not read; empty when it reads all."""
        ...

    def invert(
        self, picture: Picture, steps: int, *, progress: Progress = no_progress
    ) -> Float[Tensor, "steps 4 rows columns"]:
        """The latents on which DDIM without words would make ``picture`` in so many steps, noisiest first."""
        ...

    def sample(
        self,
        settings: GenerationSettings,
        seeds: Sequence[int],
        *,
        start: Picture | None = None,
        style: Float[Tensor, "steps 4 rows columns"] | None = None,
        rows: Rows | None = None,
        progress: Progress = no_progress,
        preview: Preview = no_preview,
    ) -> Float[Tensor, "pictures 4 rows columns"]:
        """Latents of one picture per seed; from noise, or from ``start`` by ``settings.strength``.

        ``style`` is an inverted picture, which is sampled along as the first row of each half of the batch
        and is not among the results. Before each call of the UNet ``rows`` is told every batch row's role
        and the share of the steps done.
        """
        ...

    def decode(self, latents: Float[Tensor, "pictures 4 rows columns"]) -> list[Picture]:
        """Latents to pictures, ``base.pixels`` times as wide and high."""
        ...
