"""Grows the places where people's faces are decided on to the places where their own words count.

Pure functions of the people's scores on a grid. The result has, for each place, each person's part of it: 0
to 1, and at most 1 together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from lib_uniid.attention.scores import TINY
from lib_uniid.typing import Float

Way = Literal["as routed", "columns", "downwards", "voronoi", "affinity"]

PEAK = 3.0
"""How much more the best places of a face count than the others, per deviation of the scores."""

SOFT = 0.5
"""Deviation of the scores within which neighbouring people share a place."""

SHOULDERS = 0.3
"""Width of a body, as a share of the column of one person."""

FOREIGN = 0.05
"""What a place outside of all bodies keeps for the text of the whole picture."""

ALIKE = 4.0
"""How much a likeness of 1 counts, beside the distance in columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of the places of one call, on a grid.

    ``scores`` are what the router has decided on, ``presence`` speaks for any person rather than for the
    background, and ``text`` is the text attention's output.
    """

    scores: Float[Tensor, "b i height width"]
    presence: Float[Tensor, "b 1 height width"]
    text: Float[Tensor, "b d height width"]

    @property
    def people(self) -> int:
        return self.scores.shape[1]

    @property
    def faces(self) -> Float[Tensor, "b i height width"]:
        """Each person's weights of the places, with a sum of 1: high where the face is."""
        found = PEAK * (self.scores + self.presence)
        return found.flatten(2).softmax(dim=-1).view(found.shape)

    @property
    def distance(self) -> Float[Tensor, "b i 1 width"]:
        """From the centre of each person's face, horizontally, in columns of one person."""
        width = self.scores.shape[3]
        across = (torch.arange(width, device=self.scores.device, dtype=self.scores.dtype) + 0.5) / width
        centres = (self.faces.sum(dim=2) * across).sum(dim=-1)[..., None, None]
        return (across - centres).abs() * self.people


Grow = Callable[[Seen], Float[Tensor, "b i height width"]]


def as_routed(seen: Seen) -> Float[Tensor, "b i height width"]:
    """Each place belongs to its best person."""
    return _best(seen.scores)


def columns(seen: Seen) -> Float[Tensor, "b i height width"]:
    """Each column belongs to the person whose face is nearest."""
    return _best(-seen.distance).expand_as(seen.scores)


def downwards(seen: Seen) -> Float[Tensor, "b i height width"]:
    """The faces, and what is below them in the width of the shoulders; the rest belongs to no person."""
    faces = seen.faces / seen.faces.amax(dim=(2, 3), keepdim=True).clamp_min(TINY)
    below = faces.cummax(dim=2).values
    reach = max(1, round(SHOULDERS * faces.shape[3] / seen.people))
    body = functional.max_pool2d(below, (1, 2 * reach + 1), stride=1, padding=(0, reach))
    strength = body.square()
    return strength / (strength.sum(dim=1, keepdim=True) + FOREIGN)


def voronoi(seen: Seen) -> Float[Tensor, "b i height width"]:
    """Each place is shared by how well people score at it and how near their faces are."""
    return ((seen.scores - seen.distance) / SOFT).softmax(dim=1)


def affinity(seen: Seen) -> Float[Tensor, "b i height width"]:
    """Each place belongs to the person whose face it is near to and reads the text alike with."""
    text = seen.text.float()
    text = text - text.mean(dim=(2, 3), keepdim=True)
    faces = seen.faces.flatten(2) @ text.flatten(2).transpose(1, 2)  # b i d
    likeness = functional.normalize(faces, dim=-1) @ functional.normalize(text, dim=1).flatten(2)
    return _best(ALIKE * likeness.view(seen.scores.shape) - seen.distance)


def _best(x: Float[Tensor, "b i height width"]) -> Float[Tensor, "b i height width"]:
    people = torch.arange(x.shape[1], device=x.device)[:, None, None]
    return (x.argmax(dim=1, keepdim=True) == people).to(x.dtype)


WAYS: Mapping[Way, Grow] = {
    "as routed": as_routed,
    "columns": columns,
    "downwards": downwards,
    "voronoi": voronoi,
    "affinity": affinity,
}
"""By name."""
