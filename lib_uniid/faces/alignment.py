"""Face alignment: five landmarks onto the ArcFace template of insightface's ``utils/face_align.py``."""

import cv2
import numpy as np

from lib_uniid.errors import NoFaceError
from lib_uniid.typing import Float, UInt8

TEMPLATE_SIZE = 112
ARCFACE_TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
)
"""Left eye, right eye, nose, left and right mouth corner as seen in the picture, in a 112 x 112 crop."""


def align(
    picture: UInt8[np.ndarray, "height width 3"],
    landmarks: Float[np.ndarray, "5 2"],
    size: int = 224,
) -> UInt8[np.ndarray, "size size 3"]:
    """Crop the upright face: bilinear, black outside the picture.

    Raises:
        NoFaceError: all landmarks coincide.
    """
    return cv2.warpAffine(picture, similarity(landmarks, size), (size, size), borderValue=0.0)  # pyright: ignore


def similarity(landmarks: Float[np.ndarray, "5 2"], size: int) -> Float[np.ndarray, "2 3"]:
    """Least-squares scale, rotation and translation from ``landmarks`` to the template at ``size``.

    With points as complex numbers this is one regression, q = a p + b (Umeyama's solution without
    reflection).
    """
    source = _complex(np.asarray(landmarks, dtype=np.float64))
    target = _complex(ARCFACE_TEMPLATE * (size / TEMPLATE_SIZE))
    spread = source - source.mean()
    energy = np.vdot(spread, spread).real
    if not energy > 0:
        raise NoFaceError("the five landmarks of this face coincide; choose another face or picture")
    a = np.vdot(spread, target - target.mean()) / energy
    b = target.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _complex(points: Float[np.ndarray, "5 2"]) -> np.ndarray:
    return points[:, 0] + 1j * points[:, 1]
