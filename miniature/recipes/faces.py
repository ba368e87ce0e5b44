"""Aligned face crops, drawn in the aligned frame: what recognisers and the image tower learn from."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lib_uniid.typing import Float
from miniature import heads, scenes
from miniature.characters import Looks, sample_looks
from miniature.heads import HeadPainter, Placement

TEMPLATE = torch.tensor(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""ArcFace's five points in a 112-pixel crop."""


def aligned_placement(
    who: Tensor, looks: Looks, size: int, generator: torch.Generator, jitter: float
) -> tuple[Placement, Tensor]:
    """Where a head must stand, and its roll, so that its landmarks fit the template.

    ``jitter`` is the detector's error, in pixels of 112.
    """
    count = len(who)
    origin = Placement(torch.zeros(count), torch.zeros(count), torch.ones(count))
    level = Looks(**{f: getattr(looks, f) for f in Looks.__slots__} | {"roll": torch.zeros(count)})
    points = heads.landmarks(who, level, origin)
    points = points + torch.randn(points.shape, generator=generator) * jitter / 40
    target = TEMPLATE.to(points) * size / 112
    centred, goal = points - points.mean(1, keepdim=True), target - target.mean(0)
    norm = centred.square().sum((1, 2))
    cos = (centred * goal).sum((1, 2)) / norm
    sin = (centred[:, :, 0] * goal[:, 1] - centred[:, :, 1] * goal[:, 0]).sum(1) / norm
    scale, roll = (cos.square() + sin.square()).sqrt(), torch.atan2(sin, cos)
    middle = points.mean(1)
    x = target.mean(0)[0] - (cos * middle[:, 0] - sin * middle[:, 1])
    y = target.mean(0)[1] - (sin * middle[:, 0] + cos * middle[:, 1])
    return Placement(x, y, scale), roll


def draw_aligned(
    who: Float[Tensor, "n traits"],
    generator: torch.Generator,
    size: int = 56,
    *,
    looks: Looks | None = None,
    jitter: float = 1.5,
) -> tuple[Float[Tensor, "n 3 size size"], Looks]:
    """Face crops in [0, 1] in all styles, a little blurred and noisy as decoded pictures are."""
    looks = looks or sample_looks(who, generator)
    at, roll = aligned_placement(who, looks, size, generator, jitter)
    turned = Looks(**{f: getattr(looks, f) for f in Looks.__slots__} | {"roll": roll})
    count = len(who)
    place = torch.randint(0, len(scenes.PLACES), (count,), generator=generator)
    canvas = scenes.draw_background(place, size, generator)
    shift = torch.randint(0, size, (2,), generator=generator)
    canvas = canvas.roll((int(shift[0]), int(shift[1])), (2, 3))
    faces = HeadPainter(canvas, who, turned, at).draw()
    chance = torch.rand(count, generator=generator)
    style = torch.where(chance < 0.6, 0, ((chance - 0.6) / 0.1334).long().clamp(0, 2) + 1)
    return degrade(scenes.apply_style(faces, style), generator), looks


def degrade(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Lose detail as small faces and the autoencoder do: a random smaller size and back, and noise."""
    size = faces.shape[-1]
    smaller = int(size * (0.45 + 0.55 * float(torch.rand(1, generator=generator))))
    faces = F.interpolate(faces, size=smaller, mode="bilinear", antialias=True, align_corners=False)
    faces = F.interpolate(faces, size=size, mode="bilinear", align_corners=False)
    noise = torch.randn(faces.shape, generator=generator) * 0.03 * torch.rand(1, generator=generator)
    gain = 1 + 0.2 * (torch.rand(len(faces), 1, 1, 1, generator=generator) - 0.5)
    return (faces * gain + noise).clamp(0, 1)


@torch.no_grad()
def decoded(
    faces: Float[Tensor, "n 3 size size"], vae: Any, generator: torch.Generator
) -> Float[Tensor, "n 3 size size"]:
    """Through the autoencoder, at one of the sizes that faces have in pictures, and back."""
    size = 8 * int(torch.randint(7, 13, (1,), generator=generator))
    pictures = F.interpolate(faces, size=size, mode="bilinear", antialias=True, align_corners=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents = vae.encode(pictures * 2 - 1).latent_dist.mean
        pictures = vae.decode(latents).sample
    pictures = pictures.float().add(1).div(2).clamp(0, 1)
    return F.interpolate(pictures, size=faces.shape[-1], mode="bilinear", antialias=True, align_corners=False)
