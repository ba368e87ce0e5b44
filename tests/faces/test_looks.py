"""When faces are detected a second time, and which result is used."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faces import CUTS, PACK, Sample, cut_to_face, in_a_large_picture, is_right
from lib_uniid.faces.alignment import ARCFACE_TEMPLATE
from lib_uniid.faces.detection import FaceFinder
from lib_uniid.faces.looks import Found, better, is_doubtful, is_likely, merged, parts
from lib_uniid.faces.picture import load_picture
from miniature import SAMPLES


def found(left: float, top: float, side: float, score: float = 0.9, box: float = 1.0) -> Found:
    """A face whose landmarks ask for a square of ``side``, in a box ``box`` times as large."""
    landmarks = (ARCFACE_TEMPLATE / 112 * side + (left, top)).astype(np.float32)
    return Found((left, top, left + side * box, top + side * box), landmarks, score)


@pytest.mark.parametrize("box", [0.3, 3.0])
def test_a_box_that_the_landmarks_do_not_allow_is_no_likely_face(box: float):
    assert is_likely(found(0, 0, 100))
    assert not is_likely(found(0, 0, 100, box=box))


def test_a_low_score_and_landmarks_in_one_point_are_no_likely_face():
    assert not is_likely(found(0, 0, 100, score=0.55))
    assert not is_likely(found(0, 0, 100)._replace(landmarks=np.ones((5, 2), dtype=np.float32)))


def test_a_picture_without_a_likely_face_and_one_with_a_large_unsure_face_are_doubtful():
    assert is_doubtful([], 500, 500)
    assert is_doubtful([found(0, 0, 100, score=0.5)], 500, 500)
    assert is_doubtful([found(0, 0, 400)], 500, 500)
    assert not is_doubtful([found(0, 0, 400, score=0.99)], 500, 500)
    assert not is_doubtful([found(0, 0, 100)], 500, 500)


def test_the_second_detection_is_used_if_it_is_surer_of_another_face():
    first, whole = [found(40, 40, 30, 0.8)], [found(0, 0, 100, 0.9)]
    assert better(first, whole) is whole
    assert better([found(40, 40, 30, 0.95)], whole) != whole
    assert better([], whole) is whole
    assert better(first, []) is first


def test_a_face_found_by_both_detections_is_unchanged():
    first = [found(40, 40, 100, 0.8)]
    assert better(first, [found(41, 40, 100, 0.9)]) is first


def test_a_face_in_two_parts_counts_once():
    assert merged([found(0, 0, 100, 0.7), found(4, 2, 96, 0.9), found(200, 0, 100, 0.6)]) == [
        found(4, 2, 96, 0.9)._replace(landmarks=pytest.approx(found(4, 2, 96).landmarks)),
        found(200, 0, 100, 0.6)._replace(landmarks=pytest.approx(found(200, 0, 100).landmarks)),
    ]


@pytest.mark.parametrize("size", [(4000, 3000), (1300, 1300), (5000, 400), (8000, 6000)])
def test_the_parts_cover_the_picture_and_overlap(size: tuple[int, int]):
    for boxes in parts(*size, 640):
        assert min(left for left, _, _, _ in boxes) == min(top for _, top, _, _ in boxes) == 0
        assert max(right for _, _, right, _ in boxes) == size[0]
        assert max(bottom for _, _, _, bottom in boxes) == size[1]
        lefts = sorted({(left, right) for left, _, right, _ in boxes})
        for (_, right), (left, _) in pairwise(lefts):
            assert left < right


def test_a_picture_that_the_detector_sees_well_has_no_parts():
    assert list(parts(1280, 1024, 640)) == []


# --- the miniature's detector ---


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(PACK)


@pytest.fixture(scope="module", params=sorted(SAMPLES.glob("*-1.png")), ids=lambda path: path.stem)
def sample(request: pytest.FixtureRequest, finder: FaceFinder) -> Sample:
    path: Path = request.param
    picture = load_picture(path)
    return Sample(picture, *finder.find(picture))


@pytest.mark.parametrize("cut", CUTS)
def test_a_picture_that_is_cut_to_the_face_shows_that_face_alone(
    finder: FaceFinder, sample: Sample, cut: float
):
    picture, place = cut_to_face(sample, cut)
    (face,) = finder.find(picture)
    assert is_right(face, sample, 1.0, place)


def test_a_face_of_90_pixels_in_12_megapixels_is_found(finder: FaceFinder, sample: Sample):
    picture, scale, place = in_a_large_picture(sample, 0)
    (face,) = finder.find(picture)
    assert is_right(face, sample, scale, place)
