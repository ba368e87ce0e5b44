"""The drawn world: scenes with one to three people, and what is true of them.

A scene is sampled first (who, how they look, where they stand, in which place and style), then drawn;
so every picture comes with its caption, its face boxes and its landmarks. 128 x 128 pixels by default.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from lib_uniid.typing import Float, UInt8
from miniature import heads, scenes
from miniature.characters import Looks, sample_identities, sample_looks
from miniature.drawing import cover, ellipse, paint
from miniature.heads import HeadPainter, Placement

SIZE = 128
_LIKE_THE_PLACE = {0: (2, 3), 1: (1,), 2: (4,), 3: (5,), 4: (3,), 5: (0,), 6: (1,), 7: (5, 0)}
"""Shirts too close to a place's own colours to be told from it."""

LARGE = 256


@dataclass(frozen=True, slots=True)
class _Standing:
    """How people stand: places across the picture and how far off them, half height of heads, and where.

    Shares of the picture, but for heads, which are in pixels of a picture of the layout's size.
    """

    across: tuple[float, ...]
    spread: float
    heads: tuple[float, float]
    high: tuple[float, float]


_LAYOUTS = {
    SIZE: {
        1: _Standing((0.5,), 0.10, (30.0, 43.0), (0.40, 0.50)),
        2: _Standing((0.27, 0.73), 0.03, (26.0, 31.0), (0.44, 0.54)),
        3: _Standing((0.18, 0.5, 0.82), 0.015, (19.0, 22.0), (0.44, 0.54)),
    },
    LARGE: {
        1: _Standing((0.5,), 0.14, (38.0, 56.0), (0.42, 0.52)),
        2: _Standing((0.28, 0.72), 0.05, (34.0, 46.0), (0.44, 0.54)),
        3: _Standing((0.19, 0.5, 0.81), 0.02, (30.0, 37.0), (0.48, 0.56)),
    },
}
"""By size of the picture and number of people; the larger picture has smaller heads and more of the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """``n`` scenes of ``people`` people each; people's fields are flat ``[n * people]``, left to right."""

    people: int
    place: Tensor
    style: Tensor
    who: Float[Tensor, "persons traits"]
    looks: Looks
    at: Placement
    size: int = SIZE

    def __len__(self) -> int:
        return len(self.place)

    def landmarks(self) -> Float[Tensor, "persons 5 2"]:
        """Five points per face, in pixels."""
        return heads.landmarks(self.who, self.looks, self.at)

    def boxes(self) -> Float[Tensor, "persons 4"]:
        """Face boxes, in pixels."""
        return heads.boxes(self.who, self.at)


def sample_scenes(
    count: int,
    people: int,
    generator: torch.Generator,
    *,
    who: Float[Tensor, "persons traits"] | None = None,
    style: Tensor | None = None,
    size: int = SIZE,
) -> Scene:
    """Draw ``count`` scenes from the world; ``who`` gives the people to put into them."""
    if who is None:
        who = sample_identities(count * people, generator)
    looks = sample_looks(who, generator)
    if people > 1:
        looks = _share(looks, count, people, generator)
    place = torch.randint(0, len(scenes.PLACES), (count,), generator=generator)
    looks = replace(looks, shirt=fitting_shirts(looks.shirt, place.repeat_interleave(people)))
    if style is None:
        chance = torch.rand(count, generator=generator)
        style = torch.where(chance < 0.55, 0, ((chance - 0.55) / 0.15).long().clamp(0, 2) + 1)
    return Scene(
        people=people,
        place=place,
        style=style,
        who=who,
        looks=looks,
        at=_stand(count, people, generator, size),
        size=size,
    )


def _share(looks: Looks, count: int, people: int, generator: torch.Generator) -> Looks:
    """Half the time, friends look alike in one respect: then a caption can speak of all of them."""
    shared = {}
    for field in fields(Looks):
        value = getattr(looks, field.name)
        if field.name in ("smile", "age", "glasses", "hair", "shirt"):
            grid = value.reshape(count, people)
            alike = torch.rand(count, 1, generator=generator) < 0.5
            value = torch.where(alike, grid[:, :1], grid).reshape(-1)
        shared[field.name] = value
    return Looks(**shared)


def fitting_shirts(shirt: Tensor, place: Tensor) -> Tensor:
    """The shirts themselves, or the next colour (as an index) that can be told from the place."""
    taken = torch.zeros(len(scenes.PLACES), len(scenes.SHIRT_COLOURS), dtype=torch.bool)
    for index, colours in _LIKE_THE_PLACE.items():
        taken[index, list(colours)] = True
    for _ in range(3):
        shirt = torch.where(taken[place, shirt], (shirt + 1) % len(scenes.SHIRT_COLOURS), shirt)
    return shirt


def _stand(count: int, people: int, generator: torch.Generator, size: int) -> Placement:
    layout = LARGE if size == LARGE else SIZE
    standing, unit = _LAYOUTS[layout][people], size / layout

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, people, generator=generator) * (high - low) + low

    tall = uniform(*standing.heads) * unit
    x = (torch.tensor(standing.across) + uniform(-standing.spread, standing.spread)) * size
    y = uniform(*standing.high) * size
    return Placement(x.reshape(-1), y.reshape(-1), tall.reshape(-1))


def draw(scene: Scene, generator: torch.Generator) -> Float[Tensor, "n 3 size size"]:
    """Draw the scenes, values in [0, 1]."""
    canvas = scenes.draw_background(scene.place, scene.size, generator)
    for person in range(scene.people):
        mine = torch.arange(len(scene)) * scene.people + person
        canvas = _draw_person(canvas, scene.who[mine], scene.looks[mine], scene.at[mine])
    return scenes.apply_style(canvas, scene.style)


def _draw_person(canvas: Tensor, who: Tensor, looks: Looks, at: Placement) -> Tensor:
    size = canvas.shape[-1]
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    scale = at.half_height[:, None, None]
    x, y = (x - at.x[:, None, None]) / scale, (y - at.y[:, None, None]) / scale
    shoulders = ellipse(x, y - 2.9, 1.35, 1.65)
    canvas = paint(canvas, scenes.SHIRTS.to(canvas)[looks.shirt], cover(shoulders, scale))
    return HeadPainter(canvas, who, looks, at).draw()


def portraits(
    who: Float[Tensor, "n traits"], generator: torch.Generator, *, plain_style: bool = False
) -> tuple[Float[Tensor, "n 3 128 128"], Scene]:
    """One picture of each person alone, with a look of its own: what a reference picture is."""
    style = torch.zeros(len(who), dtype=torch.long) if plain_style else None
    scene = sample_scenes(len(who), 1, generator, who=who, style=style)
    return draw(scene, generator), scene


def as_pictures(drawn: Float[Tensor, "b 3 height width"]) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Drawings with values in [0, 1] as RGB pictures in 8 bits."""
    return list((drawn * 255).round().byte().permute(0, 2, 3, 1).numpy())
