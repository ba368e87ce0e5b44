"""What the evaluation tells of a series of pictures."""

from dataclasses import dataclass

import numpy as np

from lib_uniid.faces.detection import Face


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """Figures of pictures with one person.

    Attributes:
        similarity: to the reference.
        others: mean similarity to the references of all others.
        other_picture: similarity to another picture of the person.
        copy_paste: MultiID-Bench's M_CP; 0 if the reference is no nearer than the other picture.
        rank1: share of pictures whose reference is the nearest of all.
        one_face: share of pictures with exactly one face.
        pose_copied: correlation of the head's turn with that in the reference; no prompt asks for a turn.
        kept: the words of each picture.
    """

    similarity: float
    others: float
    other_picture: float
    copy_paste: float
    rank1: float
    one_face: float
    pose_copied: float
    kept: list[dict[str, bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Figures of pictures with several people; similarities by the best permutation.

    Attributes:
        right: share of pictures in which all people are found, each most like their own reference.
        placed: share of people whose face stands at their place, counted from left to right.
        count_right: share of pictures with exactly as many faces as people.
        confidence: UMO's ID-Conf.
    """

    similarity: float
    other: float
    right: float
    placed: float
    count_right: float
    confidence: float
    pictures: int


def turn_of(face: Face) -> float:
    """How far a head is turned: the nose beside the middle of the eyes, along and in the eyes' distance."""
    left, right, nose = face.landmarks[:3]
    across = right - left
    return float((nose - (left + right) / 2) @ across / max(across @ across, 1e-6))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() and b.std() else 0.0
