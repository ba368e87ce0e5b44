"""Checks that references show one person, and that they are different pictures."""

from collections.abc import Sequence

import numpy as np

from lib_uniid.config import SAME_PERSON
from lib_uniid.errors import DifferentPeopleError
from lib_uniid.faces.detected import DetectedFace

_SAME_PICTURE = 4.0
"""Mean difference of two aligned crops in grey levels; saving a picture again as JPEG changes less."""


def different(labels: Sequence[str], seen: Sequence[DetectedFace], same: float = SAME_PERSON) -> str | None:
    """A sentence that names the references that show another person than the first; None if all show one.

    References show one person if a chain of pairs with at least the cosine similarity ``same`` connects them,
    so a profile needs to be similar only to another profile.
    """
    scores = _similarities(seen)
    alike, left = {0}, set(range(1, len(seen)))
    while found := {one for one in left if scores[one, [*alike]].max() >= same}:
        alike, left = alike | found, left - found
    if not left:
        return None
    parts = [f"{labels[one]} (similarity {scores[one, [*alike]].max():.2f})" for one in sorted(left)]
    return f"{', '.join(parts)} and {labels[0]} seem to show different people; {same:g} or more is one person"


def require_one_person(labels: Sequence[str], seen: Sequence[DetectedFace]) -> None:
    """Raise ``DifferentPeopleError`` with labels and similarities unless all references show one person."""
    if sentence := different(labels, seen):
        raise DifferentPeopleError(
            f"{sentence}. Remove pictures of other people, or confirm that all show one person (--force)"
        )


def duplicates(labels: Sequence[str], seen: Sequence[DetectedFace]) -> list[str]:
    """A sentence for each reference that shows the same face in the same picture as an earlier one."""
    notes: list[str] = []
    for number, one in enumerate(seen):
        for before, other in enumerate(seen[:number]):
            difference = np.abs(one.crop.astype(np.int16) - other.crop.astype(np.int16)).mean()
            if difference < _SAME_PICTURE:
                notes.append(f"{labels[number]} is a duplicate of {labels[before]}; use another picture")
                break
    return notes


def _similarities(seen: Sequence[DetectedFace]) -> np.ndarray:
    """Cosine similarities of all pairs; 1 if a face has no embedding."""
    scores = np.ones((len(seen), len(seen)))
    for row, one in enumerate(seen):
        for column, other in enumerate(seen):
            if one.face.embedding is not None and other.face.embedding is not None:
                scores[row, column] = one.likeness(other.face.embedding)
    return scores
