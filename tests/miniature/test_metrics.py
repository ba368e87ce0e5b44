"""Metrics of verification and identification, against small cases worked out by hand."""

import numpy as np
import pytest

from miniature.evaluation.metrics import rank1, verification_accuracy


def test_verification_accuracy_is_that_of_the_best_threshold():
    scores = np.array([0.9, 0.8, 0.3, 0.4, 0.1])
    same = np.array([True, True, True, False, False])
    assert verification_accuracy(scores, same) == pytest.approx(0.8)


def test_verification_accuracy_cannot_part_equal_scores():
    assert verification_accuracy(np.array([0.5, 0.5]), np.array([True, False])) == pytest.approx(0.5)


def test_verification_accuracy_does_not_depend_on_the_order_of_pairs():
    rng = np.random.default_rng(0)
    scores, same = rng.normal(size=200).round(1), rng.random(200) < 0.5
    mixed = rng.permutation(200)
    assert verification_accuracy(scores, same) == verification_accuracy(scores[mixed], same[mixed])


def test_rank1_counts_a_tie_as_a_miss():
    scores = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.1]])
    assert rank1(scores, np.array([0, 1, 1])) == pytest.approx(1 / 3)
