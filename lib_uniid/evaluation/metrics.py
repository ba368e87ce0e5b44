"""Figures of face verification and identification, in numpy alone.

Embeddings are rows; they need not be normalised. Names and definitions follow the field: verification
compares pairs (LFW protocol), TAR@FAR is the true accept rate at a fixed false accept rate (IJB), rank-1 is
the share of probes whose nearest gallery entry is the right one (MegaFace).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lib_uniid.typing import Bool, Float


class Match(NamedTuple):
    """One pair of a greedy matching: a row, a column and their score."""

    row: int
    column: int
    score: float


class Interval(NamedTuple):
    """A figure with the bounds of its bootstrap confidence interval."""

    value: float
    low: float
    high: float


def cosine(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """Cosine similarity of every row of ``a`` with every row of ``b``; a zero row is similar to nothing."""
    return _unit(a) @ _unit(b).T


def greedy_matching(scores: Float[np.ndarray, "n m"], floor: float = -np.inf) -> tuple[Match, ...]:
    """Pair rows with columns, best score first, each at most once and never below ``floor``."""
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
    cuts = np.concatenate([[True], ranked[1:] < ranked[:-1], [True]])  # a threshold cannot part equal scores
    return float((accepted + rejected)[cuts].max() / len(same))


def true_accept_rate(
    scores: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"], false_accept_rate: float
) -> float:
    """TAR@FAR: share of same pairs above the lowest threshold that lets at most that share of others in."""
    genuine, impostors = scores[same], np.sort(scores[~same])[::-1]
    allowed = int(np.floor(false_accept_rate * len(impostors) + 1e-9))
    if allowed >= len(impostors):
        return 1.0
    return float((genuine > impostors[allowed]).mean())


def rank1(scores: Float[np.ndarray, "n m"], truth: np.ndarray) -> float:
    """Share of probes (rows) whose best gallery column is ``truth``; a tie counts as a miss."""
    rows = np.arange(len(scores))
    right = scores[rows, truth]
    others = np.array(scores, dtype=np.float64)
    others[rows, truth] = -np.inf
    return float((right > others.max(axis=1)).mean())


def bootstrap(
    samples: np.ndarray,
    figure: Callable[[np.ndarray], float] = lambda rows: float(np.mean(rows)),
    *,
    confidence: float = 0.95,
    rounds: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of ``figure`` over the rows of ``samples`` (Efron 1979), with a fixed seed."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(samples), size=(rounds, len(samples)))
    figures = np.array([figure(samples[rows]) for rows in draws])
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(figures, [tail, 100.0 - tail])
    return Interval(figure(samples), float(low), float(high))


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0.0, norms, 1.0)
