"""Metrics of face verification and identification, in numpy only.

Definitions are standard: verification compares pairs (LFW protocol); rank-1 is the share of probes whose
nearest gallery entry is the right one (MegaFace).
"""

import numpy as np

from lib_uniid.typing import Bool, Float


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
