"""Several passes of the detector: when they are needed, and how their results are combined.

A detector finds faces from about 20 pixels to about two thirds of its square input. In a face that fills its
picture it detects parts as faces, and it misses a small face in a large photograph. So a doubtful picture is
searched again with a margin, and a picture without faces in parts.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lib_uniid.errors import NoFaceError
from lib_uniid.faces.alignment import TEMPLATE_SIZE, similarity
from lib_uniid.typing import Float

Box = tuple[float, float, float, float]

LARGE = 0.3
"""Share of the picture's longer side from which a face may be a part of one that fills the picture."""
SURE = 0.95
"""Score from which a large face is accepted."""
LIKELY = 0.6
"""Score below which further passes are made."""
SIDES = (0.5, 2.0)
"""Allowed ratio of a box's mean side to the side that its landmarks predict; 0.85 to 1 in a usual face."""
SAME = 0.05
"""Share of a box's longer side; landmarks that differ by less belong to the same face."""
OVERLAP = 1 / 6
"""Overlap of neighbouring parts; larger faces were found in the pass before."""
WORTH = {2: 2.0, 4: 3.0, 8: 6.0}
"""Parts along the longer side, if that is longer than this many sides of the detector's input."""


class Found(NamedTuple):
    """A detection in pixels of the picture; box and landmarks may extend beyond it."""

    box: Box
    landmarks: Float[np.ndarray, "5 2"]
    score: float

    @property
    def side(self) -> float:
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    def placed(self, scale: float, left: float, top: float) -> "Found":
        """Convert from pixels of an excerpt whose origin is at (left, top), enlarged by ``scale``."""
        shift = np.array([left, top], dtype=np.float32)
        box = np.reshape(self.box, (2, 2)) / scale + shift
        points = (self.landmarks / scale + shift).astype(np.float32)
        return Found(tuple(box.ravel().tolist()), points, self.score)  # pyright: ignore[reportArgumentType]


def is_likely(face: Found) -> bool:
    """Whether the score is high and the box agrees with the landmarks."""
    if face.score < LIKELY:
        return False
    try:
        matrix = similarity(face.landmarks, TEMPLATE_SIZE)
    except NoFaceError:
        return False
    wanted = TEMPLATE_SIZE / max(math.hypot(matrix[0, 0], matrix[1, 0]), 1e-9)
    left, top, right, bottom = face.box
    least, most = SIDES
    return least <= math.sqrt(max((right - left) * (bottom - top), 0.0)) / wanted <= most


def is_doubtful(faces: Sequence[Found], width: int, height: int) -> bool:
    """Whether the picture may have further or larger faces than those found."""
    if not any(is_likely(face) for face in faces):
        return True
    surest = max(face.score for face in faces)
    return surest < SURE and max(face.side for face in faces) > LARGE * max(width, height)


def better(first: Sequence[Found], second: Sequence[Found]) -> Sequence[Found]:
    """The second pass, if its best face has a higher score and is not among the first pass's faces."""
    if not first or not second:
        return first or second
    face = max(second, key=_rank)
    known = any(_is_same(face, other) for other in first)
    return first if known or _rank(face) <= max(map(_rank, first)) else second


def merged(faces: Sequence[Found]) -> list[Found]:
    """Faces without duplicates from overlapping parts: the best of those whose centres are in each other."""
    kept: list[Found] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(_covers(face, other) or _covers(other, face) for other in kept):
            kept.append(face)
    return kept


def parts(width: int, height: int, det_size: int) -> Iterator[list[Box]]:
    """Parts of a large picture (left, top, right, bottom), in ever smaller sizes."""
    longer = max(width, height)
    for count, worth in WORTH.items():
        if longer > worth * det_size:
            side = longer / (count - (count - 1) * OVERLAP)
            across, down = _starts(width, side), _starts(height, side)
            yield [(x, y, min(x + side, width), min(y + side, height)) for y in down for x in across]


def _starts(length: int, side: float) -> list[float]:
    count = max(1, math.ceil((length - side * OVERLAP) / (side - side * OVERLAP) - 1e-9))
    return np.linspace(0.0, max(0.0, length - side), count).tolist()


def _rank(face: Found) -> tuple[bool, float]:
    return is_likely(face), face.score


def _is_same(face: Found, other: Found) -> bool:
    return bool(np.abs(face.landmarks - other.landmarks).max() < SAME * max(face.side, other.side))


def _covers(face: Found, other: Found) -> bool:
    left, top, right, bottom = face.box
    x, y = (other.box[0] + other.box[2]) / 2, (other.box[1] + other.box[3]) / 2
    return left <= x <= right and top <= y <= bottom
