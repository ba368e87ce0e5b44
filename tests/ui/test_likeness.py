"""The verdict on each person of a finished picture."""

import pytest

from lib_uniid.evaluation.presence import Appearance, Presence
from lib_uniid.ui.likeness import verdicts


@pytest.mark.parametrize(
    ("similarity", "kind", "words"),
    [(0.83, "good", "good likeness"), (0.5, "note", "fair likeness"), (0.36, "bad", "weak likeness")],
)
def test_likeness_is_measured_by_what_real_pairs_reach(similarity: float, kind: str, words: str):
    (one,) = verdicts(Presence(people=(Appearance(name="Anna", face=1, similarity=similarity),)))
    assert one.kind == kind
    assert words in one.sentence


def test_a_person_who_was_not_found_has_a_suggestion():
    (one,) = verdicts(Presence(people=(Appearance(name="Ben", face=None, similarity=0.1),)))
    assert one.kind == "bad"
    assert one.sentence.startswith("Ben not found; try another seed")
