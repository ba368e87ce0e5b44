"""The interface of a host: what the pipeline needs for sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from lib_uniid.attention.rows import Rows
from lib_uniid.attention.text_encoders import TextEncoders
from lib_uniid.bases import Base
from lib_uniid.config import GenerationSettings
from lib_uniid.typing import Float, UInt8

Picture = UInt8[np.ndarray, "height width 3"]

Progress = Callable[[int, int], None]
"""Called with (steps done, total steps). An exception in it cancels, and everything injected is ejected."""


def no_progress(step: int, steps: int) -> None:
    """The default: progress is not shown."""


Look = Callable[[], list[Picture]]
"""Renders small previews of the current latents; only the call takes time."""
Preview = Callable[[Look], None]
"""Called after every step with a function that is valid until the next step."""


def no_preview(look: Look) -> None:
    """The default: previews are not shown."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SamplingOptions:
    """What a host samples with, beside the settings.

    ``start`` is a start picture for ``settings.strength``; None starts from noise. ``style`` is an inverted
    picture. It is sampled as the first row of each half of the batch, and is not among the results. Before
    each call of the UNet the host sets in ``rows`` the role of every batch row and the share of the steps
    done.
    """

    start: Picture | None = None
    style: Float[Tensor, "steps channels rows columns"] | None = None
    rows: Rows | None = None
    progress: Progress = no_progress
    preview: Preview = no_preview


NO_OPTIONS = SamplingOptions()


@runtime_checkable
class Host(Protocol):
    """A latent diffusion model of a known base family, with a sampler and a VAE."""

    @property
    def base(self) -> Base:
        """The base family of the model."""
        ...

    @property
    def unet(self) -> nn.Module:
        """The UNet into which identities are injected."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the UNet."""
        ...

    @property
    def side(self) -> int:
        """Width and height of the training pictures in pixels."""
        ...

    @property
    def text_encoders(self) -> TextEncoders:
        """Its text models, as methods use them."""
        ...

    def overlong(self, prompt: str, tokens: int = 0) -> str:
        """The end of ``prompt`` that is beyond the text models' limit; empty if all of it fits.

        ``tokens`` are put among those of the prompt (:func:`lib_uniid.attention.context.words_kept`).
        """
        ...

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "p t d"]:
        """The text states of prompts, as the UNet reads them."""
        ...

    def invert(
        self, picture: Picture, steps: int, *, progress: Progress = no_progress
    ) -> Float[Tensor, "steps channels rows columns"]:
        """The latents of the DDIM inversion of ``picture`` with an empty prompt, noisiest first."""
        ...

    def sample(
        self, settings: GenerationSettings, seeds: Sequence[int], options: SamplingOptions = NO_OPTIONS
    ) -> Float[Tensor, "pictures channels rows columns"]:
        """Latents of one picture per seed."""
        ...

    def decode(self, latents: Float[Tensor, "pictures channels rows columns"]) -> list[Picture]:
        """Latents to pictures, ``base.pixels`` times as wide and high."""
        ...
