"""Whether references show one person, and which of them show the same picture."""

from collections.abc import Sequence

import numpy as np

from lib_uniid.config import SAME_PERSON
from lib_uniid.errors import DifferentPeopleError
from lib_uniid.faces.seen import SeenFace

_SAME_PICTURE = 4.0
"""Mean difference of two aligned crops in grey levels; saving a picture anew as JPEG changes less."""


def different(labels: Sequence[str], seen: Sequence[SeenFace], same: float = SAME_PERSON) -> str | None:
    """Which references show another person than the first, in one sentence; None where all show one.

    References are of one person where a chain of pairs with at least the cosine similarity ``same``
    connects them, so that a profile may be like another profile alone.
    """
    scores = _similarities(seen)
    alike, left = {0}, set(range(1, len(seen)))
    while found := {one for one in left if scores[one, [*alike]].max() >= same}:
        alike, left = alike | found, left - found
    if not left:
        return None
    parts = [f"{labels[one]} (similarity {scores[one, [*alike]].max():.2f})" for one in sorted(left)]
    return f"{', '.join(parts)} and {labels[0]} seem to show different people; {same:g} or more is one person"


def require_one_person(labels: Sequence[str], seen: Sequence[SeenFace]) -> None:
    """``DifferentPeopleError`` with the labels and similarities unless all references show one person."""
    if sentence := different(labels, seen):
        raise DifferentPeopleError(
            f"{sentence}. Remove what shows another person, or confirm that all pictures show one (--force)"
        )


def duplicates(labels: Sequence[str], seen: Sequence[SeenFace]) -> list[str]:
    """A sentence for each reference whose face is that of an earlier one, in the same picture."""
    said: list[str] = []
    for number, one in enumerate(seen):
        for before, other in enumerate(seen[:number]):
            difference = np.abs(one.crop.astype(np.int16) - other.crop.astype(np.int16)).mean()
            if difference < _SAME_PICTURE:
                said.append(f"{labels[number]} is a duplicate of {labels[before]}; use another picture")
                break
    return said


def _similarities(seen: Sequence[SeenFace]) -> np.ndarray:
    """Cosine similarities of all pairs; 1 where a face has no embedding to compare."""
    scores = np.ones((len(seen), len(seen)))
    for row, one in enumerate(seen):
        for column, other in enumerate(seen):
            if one.face.embedding is not None and other.face.embedding is not None:
                scores[row, column] = one.likeness(other.face.embedding)
    return scores
