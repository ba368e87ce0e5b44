"""Where and how it is drawn: backgrounds, shirts and styles."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lib_uniid.typing import Float
from miniature.drawing import box, cover, ellipse, paint

PLACES = ("beach", "forest", "winter market", "city at night", "desert", "library", "meadow", "sunset")
SHIRT_COLOURS = ("red", "green", "blue", "yellow", "white", "purple")
STYLES = ("photo", "oil painting", "pencil drawing", "sepia photo")

SHIRTS = torch.tensor(
    [
        [0.85, 0.10, 0.12],
        [0.10, 0.60, 0.22],
        [0.12, 0.25, 0.80],
        [0.97, 0.83, 0.12],
        [0.95, 0.95, 0.95],
        [0.55, 0.15, 0.65],
    ]
)
"""The colours of ``SHIRT_COLOURS``."""

Jitter = Callable[[float, float], Tensor]
"""A number per picture, uniform between two bounds, ``[n 1 1]``."""

Furniture = Iterator[tuple[tuple[float, float, float], Tensor]]
"""Colours and signed distances (in picture widths), back to front."""

_SKY = torch.tensor(
    [
        [[0.45, 0.75, 0.97], [0.80, 0.93, 0.99]],
        [[0.55, 0.75, 0.60], [0.30, 0.50, 0.35]],
        [[0.62, 0.70, 0.85], [0.85, 0.88, 0.95]],
        [[0.03, 0.04, 0.14], [0.12, 0.10, 0.30]],
        [[0.55, 0.80, 0.95], [0.95, 0.90, 0.75]],
        [[0.35, 0.22, 0.13], [0.45, 0.30, 0.18]],
        [[0.40, 0.70, 0.98], [0.75, 0.90, 1.00]],
        [[0.35, 0.15, 0.45], [1.00, 0.55, 0.25]],
    ]
)
_GROUND = torch.tensor(
    [
        [0.93, 0.84, 0.60],
        [0.22, 0.33, 0.15],
        [0.96, 0.97, 1.00],
        [0.18, 0.18, 0.24],
        [0.88, 0.68, 0.40],
        [0.30, 0.17, 0.10],
        [0.35, 0.70, 0.25],
        [0.22, 0.12, 0.30],
    ]
)


def draw_background(place: Tensor, size: int, generator: torch.Generator) -> Float[Tensor, "n 3 size size"]:
    """A place per picture, each a little different; ``place`` indexes ``PLACES``."""
    count = len(place)
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    x, y = (x / size)[None].expand(count, -1, -1), (y / size)[None].expand(count, -1, -1)

    def jitter(low: float, high: float) -> Tensor:
        return (torch.rand(count, generator=generator) * (high - low) + low)[:, None, None]

    horizon = jitter(0.58, 0.72)
    sky = _SKY.to(place.device)[place]
    top, bottom = sky[:, 0, :, None, None], sky[:, 1, :, None, None]
    canvas = top + (bottom - top) * (y / horizon).clamp(0, 1)[:, None]
    pixels = float(size)
    canvas = paint(canvas, _GROUND.to(place.device)[place], cover(horizon - y, pixels))
    for index, furnish in enumerate((_beach, _forest, _market, _city, _desert, _library, _meadow, _sunset)):
        here = (place == index).float()[:, None, None]
        if here.any():
            for colour, distance in furnish(x, y, horizon, jitter):
                tint = torch.tensor(colour).expand(count, 3)
                canvas = paint(canvas, tint, cover(distance, pixels) * here)
    return canvas


def _beach(x: Tensor, y: Tensor, horizon: Tensor, jitter: Jitter) -> Furniture:
    yield (0.10, 0.45, 0.75), (horizon - 0.16 - y).maximum(y - horizon)
    yield (1.0, 0.95, 0.55), ellipse(x - jitter(0.1, 0.9), y - jitter(0.08, 0.2), 0.08, 0.08)


def _forest(x: Tensor, y: Tensor, horizon: Tensor, jitter: Jitter) -> Furniture:
    shift = jitter(0.0, 0.3)
    for k in range(5):
        at = x - shift - 0.24 * k + 0.12
        yield (0.30, 0.19, 0.10), box(at, y - 0.4, 0.03, 0.4)
        yield (0.07, 0.30 + 0.03 * k, 0.12), ellipse(at, y - 0.16 - 0.04 * (k % 2), 0.13, 0.22)


def _market(x: Tensor, y: Tensor, horizon: Tensor, jitter: Jitter) -> Furniture:
    shift = jitter(-0.1, 0.1)
    for k, colour in enumerate(((0.75, 0.12, 0.12), (0.12, 0.45, 0.20), (0.75, 0.12, 0.12))):
        at = x - 0.17 - 0.33 * k - shift
        yield (0.45, 0.28, 0.15), box(at, y - horizon + 0.10, 0.12, 0.12)
        yield colour, box(at, y - horizon + 0.25, 0.15, 0.045)
    yield (1.0, 0.85, 0.35), ((x * 9 + shift).frac() - 0.5).abs().mul(0.11).maximum((y - 0.12).abs()) - 0.018


def _city(x: Tensor, y: Tensor, horizon: Tensor, jitter: Jitter) -> Furniture:
    shift = jitter(0.0, 0.2)
    for k in range(5):
        tall = 0.25 + 0.11 * ((k * 37) % 4)
        at = x - 0.22 * k - shift + 0.05
        yield (0.10, 0.11, 0.20), box(at, y - horizon + tall / 2, 0.09, tall / 2)
        windows = ((x * 18).frac() - 0.5).abs().maximum(((y * 14).frac() - 0.5).abs()) - 0.24
        yield (
            (0.98, 0.85, 0.40),
            (windows / 16).maximum(box(at, y - horizon + tall / 2, 0.075, tall / 2 - 0.03)),
        )


def _desert(x: Tensor, y: Tensor, horizon: Tensor, jitter: Jitter) -> Furniture:
    yield (0.93, 0.76, 0.48), horizon - 0.06 + 0.06 * (x * 7 + jitter(0.0, 6.0)).sin() - y
    for side in (0.12, 0.88):
        at = x - side - jitter(-0.05, 0.05)
        yield (0.20, 0.45, 0.20), box(at, y - horizon + 0.12, 0.025, 0.17)
        yield (0.20, 0.45, 0.20), box(at - 0.04, y - horizon + 0.14, 0.05, 0.02)


def _library(x: Tensor, y: Tensor, horizon: Tensor, jitter: Jitter) -> Furniture:
    for row, shelf in enumerate((0.04, 0.28, 0.52)):
        for k, colour in enumerate(
            ((0.60, 0.15, 0.12), (0.15, 0.30, 0.50), (0.80, 0.65, 0.30), (0.15, 0.40, 0.25))
        ):
            phase = ((x * 3.0 + 0.25 * k + 0.1 * row + jitter(0.0, 0.4)).frac() - 0.5).abs() / 3.0
            yield colour, (phase - 0.034).maximum((y - shelf - 0.09).abs() - 0.09)


def _meadow(x: Tensor, y: Tensor, horizon: Tensor, jitter: Jitter) -> Furniture:
    yield (0.45, 0.78, 0.32), horizon - 0.05 + 0.04 * (x * 5 + jitter(0.0, 6.0)).sin() - y
    for _ in range(3):
        yield (1.0, 1.0, 1.0), ellipse(x - jitter(0.0, 1.0), y - jitter(0.06, 0.25), 0.12, 0.045)
    for _ in range(6):
        yield (0.98, 0.55, 0.70), ellipse(x - jitter(0.0, 1.0), y - jitter(0.8, 0.97), 0.02, 0.02)


def _sunset(x: Tensor, y: Tensor, horizon: Tensor, jitter: Jitter) -> Furniture:
    yield (
        (1.0, 0.85, 0.30),
        ellipse(x - jitter(0.2, 0.8), y - horizon + 0.02, 0.17, 0.17).maximum(y - horizon),
    )
    yield (0.20, 0.10, 0.28), horizon - 0.10 + 0.10 * (x * 4 + jitter(0.0, 6.0)).cos() - y


def apply_style(picture: Float[Tensor, "n 3 size size"], style: Tensor) -> Float[Tensor, "n 3 size size"]:
    """Turn clean drawings into photos, oil paintings, pencil drawings or sepia prints (``STYLES``)."""
    light = (picture * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    variants = (
        picture,
        _oil(picture, light),
        _pencil(light),
        light.pow(0.9) * torch.tensor([1.02, 0.84, 0.60])[:, None, None],
    )
    stacked = torch.stack([v.expand_as(picture) for v in variants])
    return stacked[style, torch.arange(len(picture))].clamp(0, 1)


def _oil(picture: Tensor, light: Tensor) -> Tensor:
    """Vivid colours in a few flat tones, on a warm ground."""
    vivid = light + (picture - light) * 1.5
    flat = (vivid * 5).round() / 5
    return (0.6 * flat + 0.4 * vivid) * 0.9 + torch.tensor([0.09, 0.06, 0.02])[:, None, None]


def _pencil(light: Tensor) -> Tensor:
    right = torch.nn.functional.pad(light, (0, 1, 0, 1), mode="replicate")
    edge = (right[:, :, :-1, 1:] - light).abs() + (right[:, :, 1:, :-1] - light).abs()
    grey = 0.52 + 0.44 * light - 1.4 * edge
    return grey * torch.tensor([1.0, 0.99, 0.95])[:, None, None]
