"""Whether references show one person."""

import numpy as np
import pytest

from lib_uniid.errors import DifferentPeopleError
from lib_uniid.faces.detected import DetectedFace
from lib_uniid.faces.detection import Face
from lib_uniid.faces.quality import Quality
from lib_uniid.faces.same import different, duplicates, require_one_person

LABELS = ("a.png", "b.png", "c.png")


def seen(*angles: float | None, crop: int = 0) -> list[DetectedFace]:
    """Faces whose ID embeddings lie on a circle, in degrees; None has no embedding."""
    quality = Quality(size=200.0, sharpness=1.0, yaw=0.0, pitch=0.0, roll=0.0, advice=())
    faces: list[DetectedFace] = []
    for number, angle in enumerate(angles):
        turned = np.radians(angle or 0.0)
        embedding = None if angle is None else np.array([np.cos(turned), np.sin(turned)], dtype=np.float32)
        face = Face(
            number=1,
            box=(0.0, 0.0, 9.0, 9.0),
            landmarks=np.zeros((5, 2), dtype=np.float32),
            score=1.0,
            embedding=embedding,
        )
        pixels = np.full((224, 224, 3), crop + 20 * number, dtype=np.uint8)
        faces.append(DetectedFace(face=face, crop=pixels, quality=quality))
    return faces


def test_pictures_of_two_people_are_named_with_their_similarity():
    with pytest.raises(DifferentPeopleError, match=r"c\.png \(similarity 0\.17\) and a\.png .*--force"):
        require_one_person(LABELS, seen(0.0, 10.0, 90.0))
    assert "b.png (similarity -0.50), c.png" in str(different(LABELS, seen(0.0, 120.0, 121.0)))


def test_faces_connected_by_a_chain_of_similarity_are_one_person():
    assert different(LABELS, seen(0.0, 120.0, 60.0)) is None  # two profiles, and the face from the front
    assert different(LABELS[:1], seen(0.0)) is None
    assert different(LABELS, seen(0.0, None, 20.0)) is None  # nothing to compare


def test_the_same_picture_given_twice_is_named():
    first, second = seen(0.0)[0], seen(5.0, crop=2)[0]  # saved anew, so a little different
    assert duplicates(LABELS, [first, seen(0.0, crop=90)[0], second]) == [
        "c.png is a duplicate of a.png; use another picture"
    ]
