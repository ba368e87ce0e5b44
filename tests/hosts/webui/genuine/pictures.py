"""Pictures as the host sent them, compared by their pixels: their files also hold infotexts."""

import base64
import io

import numpy as np
from PIL import Image

from lib_uniid.typing import UInt8
from tests.hosts.webui.genuine.api import Answer


def pixels(picture: str) -> UInt8[np.ndarray, "height width 3"]:
    """Of a PNG file in base64."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"))


def contents(answer: Answer) -> list[bytes]:
    """The pixels of each picture."""
    return [pixels(one).tobytes() for one in answer.images]


def same(one: Answer, other: Answer) -> bool:
    """Whether the pictures are equal, whatever is written about them."""
    return contents(one) == contents(other)


def apart(one: str, other: str) -> int:
    """How many grey levels two pictures of one size differ by where they differ most."""
    return int(np.abs(pixels(one).astype(int) - pixels(other).astype(int)).max())


def encoded(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """A PNG file in base64."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
