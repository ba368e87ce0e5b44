"""Requests as the API takes them."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from tests.red_faces import red_face_picture


def person(name: str = "Anna", **values: Any) -> dict[str, Any]:
    return {"name": name, **values}


def ask(*people: dict[str, Any], **values: Any) -> dict[str, Any]:
    """``alwayson_scripts`` for these people; the check of the pictures is off unless it is asked for."""
    request = {"version": 1, "people": list(people), "check": False, **values}
    return {"UniID": {"args": [request]}}


def base64_of(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


FACE = base64_of(red_face_picture((64, 64)))
TWO_FACES = base64_of(red_face_picture((64, 64), (190, 60)))
NO_FACE = base64_of(np.full((128, 128, 3), 128, dtype=np.uint8))
LEFT = base64_of(np.repeat(np.array([[255, 0]], dtype=np.uint8), 2, axis=0))
RIGHT = base64_of(np.repeat(np.array([[0, 255]], dtype=np.uint8), 2, axis=0))
BLACK = base64_of(np.zeros((8, 8), dtype=np.uint8))
