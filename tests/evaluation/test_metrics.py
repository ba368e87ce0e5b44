"""Similarities and their matching, against small cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_uniid.evaluation.metrics import copy_paste, cosine, greedy_matching, identity_confidence


def test_cosine_ignores_lengths_and_a_zero_row_is_similar_to_nothing():
    a = np.array([[3.0, 0.0], [0.0, 0.0]])
    b = np.array([[10.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    assert cosine(a, b) == pytest.approx(np.array([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))


def test_greedy_matching_takes_the_best_pair_first_and_each_row_and_column_once():
    scores = np.array([[0.9, 0.8], [0.85, 0.1]])
    assert [(match.row, match.column) for match in greedy_matching(scores)] == [(0, 0), (1, 1)]


def test_greedy_matching_leaves_apart_what_is_below_the_floor():
    assert [match.score for match in greedy_matching(np.array([[0.9, 0.2], [0.1, 0.2]]), 0.3)] == [0.9]


def test_greedy_matching_of_nothing_is_empty():
    assert greedy_matching(np.zeros((0, 3))) == ()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
def test_greedy_matching_pairs_as_many_as_there_can_be(rows: int, columns: int, seed: int):
    matches = greedy_matching(np.random.default_rng(seed).normal(size=(rows, columns)))
    assert len(matches) == min(rows, columns)
    assert len({match.row for match in matches}) == len({match.column for match in matches}) == len(matches)


def test_copy_paste_is_one_for_a_copy_of_the_reference_and_minus_one_for_the_other_picture():
    reference, other = np.array([[1.0, 0.0]] * 3), np.array([[0.0, 2.0]] * 3)
    made = np.array([[3.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert copy_paste(made, reference, other) == pytest.approx([1.0, -1.0, 0.0], abs=1e-6)


def test_identity_confidence_is_the_lead_of_the_best_face():
    scores = np.array([[0.8, -0.1, 0.5], [0.2, -0.4, 0.5]])
    assert identity_confidence(scores) == pytest.approx([0.75, 0.0, 0.0])
    assert identity_confidence(scores[:1, :1]) == pytest.approx([1.0])
