"""Tests of a reference's quality."""

import cv2
import numpy as np
import pytest

from benchmarks.faces import PACK
from lib_uniid.faces.alignment import ARCFACE_TEMPLATE, align
from lib_uniid.faces.detection import Face, FaceFinder
from lib_uniid.faces.picture import load_picture
from lib_uniid.faces.quality import Quality, assess, pose, sharpness
from miniature import SAMPLES

PICTURE = np.full((400, 400, 3), 128, dtype=np.uint8)
DEPTH = np.array([0.0, 0.0, 18.0, 3.0, 3.0])  # of the mean face, towards the camera


def textured(seed: int = 0) -> np.ndarray:
    """Detail at all scales, as in a sharp photograph: a 1/f spectrum."""
    noise = np.fft.fft2(np.random.default_rng(seed).standard_normal((224, 224)))
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.fftfreq(224)[None])
    field = np.fft.ifft2(noise / np.maximum(frequency, 1 / 224)).real
    grey = np.clip(128 + 45 * field / field.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """The mean face's landmarks after turning the head, seen from far away; y is down, z to the camera."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    head = np.column_stack([ARCFACE_TEMPLATE, DEPTH])
    return ((head - head.mean(0)) @ (about_z @ about_x @ about_y).T)[:, :2].astype(np.float32) * 2 + 200


def assessed(
    size: float = 200.0, crop: np.ndarray | None = None, landmarks: np.ndarray | None = None
) -> Quality:
    face = Face(
        number=1,
        box=(100.0, 100.0, 100.0 + size, 120.0 + size),
        landmarks=turned() if landmarks is None else landmarks,
        score=0.9,
    )
    return assess(PICTURE, face, textured() if crop is None else crop)


def test_a_good_reference_needs_no_advice():
    quality = assessed()
    assert quality.advice == ()
    assert quality.size == 200.0


@pytest.mark.parametrize(("size", "says"), [(20.0, "too small"), (40.0, "is small")])
def test_a_small_face_has_advice(size: float, says: str):
    (advice,) = assessed(size=size).advice
    assert says in advice
    assert f"{size:.0f} px" in advice


def test_a_blurred_face_has_advice():
    (advice,) = assessed(crop=cv2.GaussianBlur(textured(), (0, 0), 6)).advice
    assert "blurred" in advice


@pytest.mark.parametrize(("grey", "says"), [(0.2, "dark"), (1.9, "overexposed")])
def test_bad_light_has_advice(grey: float, says: str):
    crop = np.clip(textured() * grey, 0, 255).astype(np.uint8)
    assert any(says in advice for advice in assessed(crop=crop).advice)


def test_a_face_in_profile_has_advice():
    (advice,) = assessed(landmarks=turned(yaw=50)).advice
    assert "turned away" in advice


@pytest.mark.parametrize(("pitch", "says"), [(40.0, "looks up"), (-40.0, "looks down")])
def test_a_face_turned_up_or_down_has_advice(pitch: float, says: str):
    (advice,) = assessed(landmarks=turned(pitch=pitch)).advice
    assert says in advice


def test_a_face_beyond_the_edge_has_advice():
    (advice,) = assessed(landmarks=turned() - np.array([180, 0], dtype=np.float32)).advice
    assert "outside" in advice


def test_sharpness_falls_with_blur_and_stays_within_zero_and_one():
    values = [sharpness(textured())] + [
        sharpness(cv2.GaussianBlur(textured(), (0, 0), sigma)) for sigma in (1, 2, 4, 8)
    ]
    assert values == sorted(values, reverse=True)
    assert 0 <= values[-1] < values[0] <= 1


def test_sharpness_does_not_depend_on_contrast():
    weak = (textured() * 0.5 + 60).astype(np.uint8)
    assert sharpness(weak) == pytest.approx(sharpness(textured()), abs=0.03)


def test_a_flat_crop_has_no_sharpness():
    assert sharpness(np.full((224, 224, 3), 90, dtype=np.uint8)) == 0.0


@pytest.mark.parametrize("yaw", [-60, -20, 0, 35])
@pytest.mark.parametrize("roll", [-30, 0, 80])
def test_yaw_and_roll_of_the_mean_face_are_recovered(yaw: float, roll: float):
    found_yaw, _, found_roll = pose(turned(yaw=yaw, roll=roll))
    assert found_yaw == pytest.approx(yaw, abs=0.5)
    assert found_roll == pytest.approx(roll, abs=0.5)


@pytest.mark.parametrize("pitch", [-40, -10, 0, 30])
def test_pitch_of_the_mean_face_is_recovered(pitch: float):
    assert pose(turned(pitch=pitch))[1] == pytest.approx(pitch, abs=0.5)


def test_the_sample_pictures_need_no_advice():
    finder = FaceFinder(PACK)
    for path in sorted(SAMPLES.glob("*.png")):
        picture = load_picture(path)
        (face,) = finder.find(picture)
        assert assess(picture, face, align(picture, face.landmarks)).advice == (), path.name
