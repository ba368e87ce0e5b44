"""Metrics of face verification and identification, in numpy only.

Embeddings are rows; they need not be normalised. Names and definitions are standard: verification
compares pairs (LFW protocol), rank-1 is the share of probes whose nearest gallery entry is the right one
(MegaFace).
"""

from typing import NamedTuple

import numpy as np

from lib_uniid.typing import Bool, Float


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


def verification_accuracy(scores: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"]) -> float:
    """Best accuracy over all thresholds of "same person iff score >= threshold"."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], same[order]
    accepted = np.concatenate([[0], np.cumsum(hits)])
    rejected = np.concatenate([np.cumsum((~hits)[::-1])[::-1], [0]])
    cuts = np.concatenate(
        [[True], ranked[1:] < ranked[:-1], [True]]
    )  # a threshold cannot separate equal scores
    return float((accepted + rejected)[cuts].max() / len(same))


def rank1(scores: Float[np.ndarray, "n m"], truth: np.ndarray) -> float:
    """Share of probes (rows) whose best gallery column is ``truth``; a tie counts as a miss."""
    rows = np.arange(len(scores))
    right = scores[rows, truth]
    others = np.array(scores, dtype=np.float64)
    others[rows, truth] = -np.inf
    return float((right > others.max(axis=1)).mean())


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0.0, norms, 1.0)
