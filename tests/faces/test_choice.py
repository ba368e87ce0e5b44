"""Tests of choosing a face."""

import numpy as np
import pytest

from lib_uniid.errors import ConfigError, NoFaceError, SeveralFacesError
from lib_uniid.faces.choice import choose
from lib_uniid.faces.detection import Face


def face(number: int, left: float, size: float) -> Face:
    box = (left, 10.0, left + size, 10.0 + size)
    return Face(number=number, box=box, landmarks=np.zeros((5, 2), dtype=np.float32), score=0.9)


SMALL, LARGE, INNER = face(1, 0.0, 20.0), face(2, 50.0, 60.0), face(3, 60.0, 10.0)
FACES = (SMALL, LARGE, INNER)


def test_the_only_face_needs_no_choice():
    assert choose([SMALL]) is SMALL


def test_a_face_is_chosen_by_its_number():
    assert choose(FACES, number=2) is LARGE


def test_the_largest_face_is_chosen():
    assert choose(FACES, largest=True) is LARGE


def test_the_smallest_box_around_a_point_is_chosen():
    assert choose(FACES, point=(65.0, 15.0)) is INNER
    assert choose(FACES, point=(100.0, 60.0)) is LARGE


def test_several_faces_without_a_choice_are_listed_with_their_numbers():
    with pytest.raises(SeveralFacesError, match=r"3 faces .*1: 20 x 20 px at \(0, 10\).*2: .*number"):
        choose(FACES)


@pytest.mark.parametrize("choice", [{}, {"number": 1}, {"largest": True}, {"point": (1.0, 1.0)}])
def test_a_picture_without_faces_is_refused_for_any_choice(choice: dict[str, object]):
    with pytest.raises(NoFaceError, match="no face was found"):
        choose([], **choice)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("number", [0, 4, -1])
def test_a_number_that_no_face_has_is_named(number: int):
    with pytest.raises(NoFaceError, match=f"no face number {number}; this picture has 1: "):
        choose(FACES, number=number)


def test_a_point_outside_all_faces_is_named():
    with pytest.raises(NoFaceError, match=r"no face at \(300, 5\)"):
        choose(FACES, point=(300.0, 5.0))


def test_two_criteria_are_refused():
    with pytest.raises(ConfigError, match="give only one of these"):
        choose(FACES, number=1, largest=True)
