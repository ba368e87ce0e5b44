"""The check of a finished picture."""

import numpy as np
import pytest

from lib_uniid.evaluation.presence import check, other_recogniser
from lib_uniid.faces.detection import Face

ANNA, BEN, EVE = np.eye(3, dtype=np.float32)


def face(number: int, embedding: np.ndarray | None) -> Face:
    return Face(
        number=number,
        box=(0.0, 0.0, 1.0, 1.0),
        landmarks=np.zeros((5, 2), dtype=np.float32),
        score=0.9,
        embedding=embedding,
    )


def test_each_person_is_matched_with_the_most_similar_face():
    presence = check([face(1, 0.8 * BEN + 0.2 * ANNA), face(2, ANNA)], [("Anna", ANNA), ("Ben", BEN)])
    assert [(person.name, person.face) for person in presence.people] == [("Anna", 2), ("Ben", 1)]
    assert presence.people[0].similarity == pytest.approx(1.0)
    assert presence.complete


def test_a_person_without_a_face_is_missing_with_the_nearest_similarity():
    presence = check([face(1, ANNA), face(2, EVE + 0.2 * BEN)], [("Anna", ANNA), ("Ben", BEN)])
    assert presence.missing == ("Ben",)
    assert presence.people[1].similarity == pytest.approx(0.2 / np.hypot(1, 0.2))
    assert presence.unknown == (2,)
    assert not presence.complete


def test_a_second_face_of_a_person_is_a_double_and_not_unknown():
    presence = check([face(1, ANNA), face(2, ANNA + 0.5 * EVE)], [("Anna", ANNA)])
    assert presence.doubled == ("Anna",)
    assert presence.people[0].doubles == (2,)
    assert presence.unknown == ()
    assert not presence.complete


def test_other_faces_are_reported_and_do_not_change_the_result():
    presence = check([face(1, ANNA), face(2, EVE)], [("Anna", ANNA)])
    assert presence.unknown == (2,)
    assert presence.complete


def test_without_faces_all_people_are_missing():
    presence = check([], [("Anna", ANNA), ("Ben", BEN)])
    assert presence.missing == ("Anna", "Ben")
    assert presence.people[0].similarity is None


def test_without_people_there_is_nothing_to_miss():
    assert check([face(1, EVE)], []).complete


def test_rank_prefers_people_over_likeness_and_no_doubles_over_doubles():
    people = [("Anna", ANNA), ("Ben", BEN)]
    both_faintly = check([face(1, ANNA + EVE), face(2, BEN + EVE)], people)
    both_and_a_double = check([face(1, ANNA), face(2, BEN), face(3, BEN)], people)
    one_perfectly = check([face(1, ANNA)], people)
    assert both_faintly.rank > both_and_a_double.rank > one_perfectly.rank


def test_a_face_without_an_embedding_shifts_no_other_face():
    people = [("Anna", ANNA), ("Ben", BEN)]
    presence = check([face(1, None), face(2, BEN), face(3, EVE), face(4, ANNA), face(5, ANNA)], people)
    assert [person.face for person in presence.people] == [4, 2]
    assert presence.people[0].doubles == (5,)
    assert presence.unknown == (1, 3)


def test_a_person_of_another_recogniser_is_unchecked_and_not_missing():
    reasons = {"Ben": other_recogniser("0123", "4567")}
    presence = check([face(1, ANNA)], [("Anna", ANNA), ("Ben", np.ones(7, np.float32))], unchecked=reasons)
    assert presence.sentence == (
        "Anna found (similarity 1.00); Ben not checked (enrolled with the face recogniser 0123, but 4567 is "
        "used now; enrol this person again from pictures)"
    )
    assert (presence.missing, presence.unchecked) == ((), ("Ben",))
    assert (presence.complete, presence.improvable) == (False, False)
