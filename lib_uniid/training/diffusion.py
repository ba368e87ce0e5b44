"""Noise prediction: Stable Diffusion's schedule, min-SNR weights and a face-weighted error."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_uniid.bases import Base
from lib_uniid.typing import Float, Int


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """The forward process of a family of base models.

    ``kept`` is the share of the signal's variance that remains at each time.
    """

    kept: Float[Tensor, " times"]

    @classmethod
    def of(cls, base: Base) -> "NoiseSchedule":
        """The schedule of a family, whose betas have evenly spaced square roots."""
        first, last = base.betas
        betas = torch.linspace(first**0.5, last**0.5, base.trained_steps) ** 2
        return cls(torch.cumprod(1 - betas, 0))

    def add(
        self, latents: Float[Tensor, "b c height width"], noise: Tensor, times: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c height width"]:
        """Noisy latents at ``times``."""
        kept = self.kept[times].view(-1, 1, 1, 1)
        return kept.sqrt() * latents + (1 - kept).sqrt() * noise

    def weight(self, times: Int[Tensor, " b"], gamma: float = 5.0) -> Float[Tensor, " b"]:
        """Min-SNR weights for a model that predicts noise (arXiv 2303.09556)."""
        snr = self.kept[times] / (1 - self.kept[times])
        return snr.clamp(max=gamma) / snr

    def even_weight(self, times: Int[Tensor, " b"], limit: float = 8.0) -> Float[Tensor, " b"]:
        """Weights (1/sqrt(SNR), at most ``limit``) under which all times contribute about equally.

        Identity is determined in the noisy steps, where errors of the noise are smallest.
        """
        return ((1 - self.kept[times]) / self.kept[times]).sqrt().clamp(max=limit)

    def noise(self, shape: torch.Size, generator: torch.Generator, offset: float = 0.12) -> Tensor:
        """Noise with a random mean per channel (offset noise).

        The schedule leaves much of the mean in the noisiest latents, so a model takes the colours of its
        picture from the initial noise and ignores the prompt. A random mean prevents this.
        """
        return torch.randn(shape, generator=generator) + offset * torch.randn(
            *shape[:2], 1, 1, generator=generator
        )


def face_weighted_error(
    predicted: Float[Tensor, "b c height width"],
    noise: Float[Tensor, "b c height width"],
    faces: Float[Tensor, "b height width"],
    weight: Float[Tensor, " b"],
    face_weight: float,
) -> Float[Tensor, ""]:
    """Squared error of the noise with faces (1 in ``faces``) counted ``face_weight`` times."""
    importance = 1 + (face_weight - 1) * faces
    importance = importance / importance.mean((1, 2), keepdim=True)
    error = ((predicted - noise).square().mean(1) * importance).mean((1, 2))
    return (error * weight).mean()
