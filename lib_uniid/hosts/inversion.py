"""Inverts a picture to noise, and gives its latents at any timestep, for any sampler.

DDIM inversion (arXiv 2010.02502, section 4.3) gives latents at some timesteps. Divided by the square root of
alpha they lie on straight lines over sigma from one timestep to the next, as in Euler's method (equation 14
there). So the latents at the timesteps between are determined, too, and a sampler with other timesteps than
DDIM can sample a picture along with its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from lib_uniid.bases import Base
from lib_uniid.typing import Float

Latents = Float[Tensor, "1 channels rows columns"]
Predict = Callable[[Latents, Float[Tensor, " 1"]], Latents]
"""The UNet's prediction for latents at a timestep."""


@cache
def sigmas(base: Base) -> Float[Tensor, " steps"]:
    """The standard deviation of the noise for a picture of scale 1, at each timestep of the training."""
    first, last = base.betas
    betas = torch.linspace(first**0.5, last**0.5, base.trained_steps) ** 2
    alphas = torch.cumprod(1.0 - betas, dim=0)
    return ((1.0 - alphas) / alphas).sqrt()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trajectory:
    """The latents of an inverted picture, divided by the square root of alpha.

    ``points`` has them at each of ``sigmas``. ``table`` has the logarithm of sigma for each timestep of the
    training. All tensors are on the sampling device, in float32.
    """

    sigmas: Float[Tensor, " points"]
    points: Float[Tensor, "points channels rows columns"]
    table: Float[Tensor, " steps"]

    def at(self, timestep: Tensor) -> Latents:
        """The latents that a UNet gets at a timestep, a tensor of one number, which need not be whole.

        Beyond the last point the last line is extended. Nothing is read back from the device.
        """
        timestep = timestep.float().clamp(0, len(self.table) - 1)
        low, high = timestep.floor().long(), timestep.ceil().long()
        sigma = torch.lerp(self.table[low], self.table[high], timestep.frac()).exp()
        after = torch.searchsorted(self.sigmas, sigma).clamp(1, len(self.sigmas) - 1)
        before = after - 1
        share = (sigma - self.sigmas[before]) / (self.sigmas[after] - self.sigmas[before])
        point = torch.lerp(self.points[before], self.points[after], share.view(-1, 1, 1, 1))
        return _as_given(point, sigma)


def invert(predict: Predict, clean: Latents, steps: int, base: Base, *, velocity: bool = False) -> Trajectory:
    """Invert a picture's latents to noise in ``steps`` calls of ``predict``, on the timesteps of DDIM.

    ``velocity`` says that the UNet predicts v instead of the noise.
    """
    table = sigmas(base).to(clean.device)
    timesteps = [base.steps_offset + number * (base.trained_steps // steps) for number in range(steps)]
    sigma = table[:1]
    point = clean.float() * (1.0 + sigma**2).sqrt()
    passed = [(sigma, point)]
    for timestep in timesteps:
        given = _as_given(point, sigma)
        predicted = predict(given, torch.full((1,), float(timestep), device=clean.device)).float()
        # v is sqrt(alpha) noise - sqrt(1 - alpha) picture; sqrt(alpha) is 1 / sqrt(1 + sigma^2).
        noise = (predicted + sigma * given) / (1.0 + sigma**2).sqrt() if velocity else predicted
        after = table[timestep : timestep + 1]
        point, sigma = point + (after - sigma) * noise, after
        passed.append((sigma, point))
    return Trajectory(
        sigmas=torch.cat([sigma for sigma, _ in passed]),
        points=torch.cat([point for _, point in passed]),
        table=table.log(),
    )


def _as_given(point: Latents, sigma: Float[Tensor, " 1"]) -> Latents:
    return point / (1.0 + sigma**2).sqrt().view(-1, 1, 1, 1)
