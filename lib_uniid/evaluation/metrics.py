"""Similarities of ID embeddings and their matching, in numpy only.

Embeddings are rows; they need not be normalised.
"""

from typing import NamedTuple

import numpy as np

from lib_uniid.typing import Float


class Match(NamedTuple):
    """One pair of a greedy matching: a row, a column and their score."""

    row: int
    column: int
    score: float


def cosine(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """Cosine similarity of every row of ``a`` with every row of ``b``; a zero row has similarity 0."""
    return _unit(a) @ _unit(b).T


def greedy_matching(scores: Float[np.ndarray, "n m"], floor: float = -np.inf) -> tuple[Match, ...]:
    """Pair rows with columns, best score first, each at most once and never below ``floor``.

    Not the pairs of the largest sum (``scipy.optimize.linear_sum_assignment``): a face that is most like one
    person would be given to another wherever the sum rises by it.
    """
    left = np.array(scores, dtype=np.float64)
    matches: list[Match] = []
    while left.size and left.max() >= floor and np.isfinite(left.max()):
        row, column = (int(index) for index in np.unravel_index(left.argmax(), left.shape))
        matches.append(Match(row, column, float(scores[row, column])))
        left[row, :] = left[:, column] = -np.inf
    return tuple(matches)


def copy_paste(
    made: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "n d"], other: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " n"]:
    """How much nearer a picture is to its reference than to another picture of the person, in [-1, 1].

    MultiID-Bench's ``M_CP = (angle(made, other) - angle(made, reference)) / angle(other, reference)`` for
    each row: 1 for a copy of the reference, -1 for one of the other picture, 0 for neither.
    """
    apart = np.maximum(_angles(other, reference), 1e-6)
    return (_angles(made, other) - _angles(made, reference)) / apart


def identity_confidence(scores: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " m"]:
    """UMO's ID-Conf of each reference (column): ``1 - second best / best`` over the faces, in [0, 1].

    0 where no face is like the reference. With one face it is 1.
    """
    ranked = -np.sort(-scores, axis=0)
    best = ranked[0]
    second = ranked[1] if len(ranked) > 1 else np.zeros_like(best)
    return np.where(best > 0.0, np.clip(1.0 - second / np.where(best > 0.0, best, 1.0), 0.0, 1.0), 0.0)


def _angles(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    return np.arccos(np.clip((_unit(a) * _unit(b)).sum(axis=1), -1.0, 1.0))


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0.0, norms, 1.0)
