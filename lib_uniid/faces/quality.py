"""Quality of a reference, with advice for the user."""

from dataclasses import dataclass

import cv2
import numpy as np

from lib_uniid.faces.alignment import ARCFACE_TEMPLATE
from lib_uniid.faces.detection import Face
from lib_uniid.typing import Float, UInt8

# Depth of the template's five points towards the camera, in its pixels (35 px between the eyes, about
# 63 mm): the tip of the nose protrudes by about 32 mm, the corners of the mouth by about 5 mm.
_DEPTH = np.array([0.0, 0.0, 18.0, 3.0, 3.0])
_BLUR_WIDTH = 9  # of the re-blurring mean filter, as in Crete et al.

SMALL, TOO_SMALL, SEEN = (
    45,
    28,
    112,
)  # px; the recogniser's input is 112, and it was trained with faces of half that size
BLURRED = 0.35
TURNED, TILTED = 35.0, 25.0  # degrees
DARK, BRIGHT = 40, 215  # mean grey


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Measures of one face.

    Attributes:
        size: shorter side of the face's box, in pixels.
        sharpness: 0 (flat or fully blurred) to 1, of the aligned crop.
        yaw: degrees, positive where the nose points to the right of the picture.
        pitch: degrees, positive where the face looks up.
        roll: degrees in the picture's plane, positive clockwise.
        advice: sentences for the user; empty for a good reference.
    """

    size: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float
    advice: tuple[str, ...]


def assess(
    picture: UInt8[np.ndarray, "height width 3"], face: Face, crop: UInt8[np.ndarray, "side side 3"]
) -> Quality:
    """Measure ``face`` of ``picture`` and its aligned ``crop``."""
    left, top, right, bottom = face.box
    size = min(right - left, bottom - top)
    sharp = sharpness(crop)
    yaw, pitch, roll = pose(face.landmarks)
    advice = (
        *_advise_size(size),
        *(["the face is blurred; use a sharper picture"] if sharp < BLURRED else []),
        *_advise_pose(yaw, pitch),
        *_advise_light(crop),
        *_advise_frame(picture, face),
    )
    return Quality(size=size, sharpness=sharp, yaw=yaw, pitch=pitch, roll=roll, advice=advice)


def sharpness(crop: UInt8[np.ndarray, "side side 3"]) -> float:
    """One minus the blur effect of Crete et al. 2007: the share of variation that re-blurring removes.

    Independent of contrast; measured at 112 px, the recogniser's input, so an enlarged small face counts as
    blurred.
    """
    grey = cv2.cvtColor(
        cv2.resize(crop, (112, 112), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    ).astype(np.float64)
    return min(_kept_variation(grey, axis) for axis in (0, 1))


def _kept_variation(grey: Float[np.ndarray, "height width"], axis: int) -> float:
    kernel = (1, _BLUR_WIDTH) if axis == 0 else (_BLUR_WIDTH, 1)
    blurred = cv2.blur(grey, kernel)
    variation = np.abs(np.diff(grey, axis=axis))
    lost = np.maximum(0.0, variation - np.abs(np.diff(blurred, axis=axis)))
    return float(lost.sum() / max(variation.sum(), 1e-9))


def pose(landmarks: Float[np.ndarray, "5 2"]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees from five landmarks: a weak-perspective fit of a mean face.

    An estimate for advice, not a measurement: faces that differ from the mean are off by 10 degrees.
    """
    model = np.column_stack([ARCFACE_TEMPLATE, _DEPTH])
    model = model - model.mean(axis=0)
    points = np.asarray(landmarks, dtype=np.float64) - landmarks.mean(axis=0)
    camera = np.linalg.lstsq(model, points, rcond=None)[0].T  # 2 x 3: scaled first two rows of the rotation
    left, _, right = np.linalg.svd(camera, full_matrices=False)
    x, y = left @ right  # nearest pair of orthonormal rows
    z = np.cross(x, y)
    yaw = np.arctan2(-z[0], z[2])  # the head turns, then nods, then leans
    pitch = np.arcsin(np.clip(z[1], -1.0, 1.0))
    roll = np.arctan2(-x[1], y[1])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def _advise_size(size: float) -> list[str]:
    if size < TOO_SMALL:
        return [f"the face is too small ({size:.0f} px); use one in which it is at least {SEEN} px wide"]
    if size < SMALL:
        return [f"the face is small ({size:.0f} px); {SEEN} px or more keep finer features"]
    return []


def _advise_pose(yaw: float, pitch: float) -> list[str]:
    advice: list[str] = []
    if abs(yaw) > TURNED:
        advice.append(
            f"the face is turned away (about {abs(yaw):.0f} degrees); use one that faces the camera"
        )
    if abs(pitch) > TILTED:
        way = "up" if pitch > 0 else "down"
        advice.append(f"the face looks {way} (about {abs(pitch):.0f} degrees); use one that faces the camera")
    return advice


def _advise_light(crop: UInt8[np.ndarray, "side side 3"]) -> list[str]:
    grey = float(crop.mean())
    if grey < DARK:
        return ["the face is very dark; use a brighter picture"]
    if grey > BRIGHT:
        return ["the face is overexposed; use a darker picture"]
    return []


def _advise_frame(picture: UInt8[np.ndarray, "height width 3"], face: Face) -> list[str]:
    height, width = picture.shape[:2]
    inside = (face.landmarks >= 0).all() and (face.landmarks <= (width, height)).all()
    return [] if inside else ["part of the face is outside the picture; use a picture that shows all of it"]
