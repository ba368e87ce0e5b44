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


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0.0, norms, 1.0)
