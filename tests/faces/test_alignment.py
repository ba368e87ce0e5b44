"""Tests of face alignment, and its parity with insightface's."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_uniid.errors import NoFaceError
from lib_uniid.faces.alignment import ARCFACE_TEMPLATE, align, similarity
from tests import recorded

CROP_WITHIN = (1, 1e-3) if int(cv2.__version__.partition(".")[0]) >= 5 else (4, 0.06)
"""By how many grey levels a crop may differ, and in what share of its values.

The recording is of OpenCV 5; OpenCV 4, beyond which the WebUIs' numpy does not go, takes positions in steps
of 1/32 of a pixel when it warps.
"""


@pytest.mark.golden
@pytest.mark.parametrize("face", [0, 1])
def test_the_fit_is_the_official_one(face: int):
    recording = recorded.tensors("face_align")
    matrix = similarity(recording["in.kps"][face].numpy(), 224)
    np.testing.assert_allclose(matrix, recording[f"out.M{face}"].numpy(), atol=1e-4, rtol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("face", [0, 1])
def test_the_crop_is_the_official_one(face: int):
    recording = recorded.tensors("face_align")
    crop = align(recording["in.image_bgr"].numpy(), recording["in.kps"][face].numpy())
    difference = np.abs(crop.astype(int) - recording[f"out.crop{face}_bgr"].numpy())
    largest, share = CROP_WITHIN
    assert difference.max() <= largest
    assert (difference > 0).mean() < share


@given(
    scale=st.floats(0.1, 10.0),
    angle=st.floats(-3.14, 3.14),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_a_moved_template_is_moved_back_exactly(scale: float, angle: float, shift: tuple[float, float]):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = ARCFACE_TEMPLATE @ turn.T + shift
    back = np.column_stack([moved, np.ones(5)]) @ similarity(moved, 112).T
    np.testing.assert_allclose(back, ARCFACE_TEMPLATE, atol=1e-6)


def test_outside_the_picture_the_crop_is_black():
    white = np.full((30, 30, 3), 255, dtype=np.uint8)
    crop = align(white, (ARCFACE_TEMPLATE - 200).astype(np.float32))
    assert crop.max() == 0


def test_landmarks_in_one_point_are_no_face():
    with pytest.raises(NoFaceError, match="coincide"):
        align(np.zeros((8, 8, 3), dtype=np.uint8), np.ones((5, 2), dtype=np.float32))
