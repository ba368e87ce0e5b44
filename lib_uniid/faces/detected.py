"""A memory cache of detected faces, so that each picture is searched once."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib_uniid.faces.detection import Face
from lib_uniid.faces.quality import Quality
from lib_uniid.typing import Float, UInt8

MOST = 32
"""Pictures; a face takes 150 kB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectedFace:
    """A face in a picture with its aligned crop, and its quality as a reference."""

    face: Face
    crop: UInt8[np.ndarray, "side side 3"]
    quality: Quality

    def likeness(self, embedding: Float[np.ndarray, " d"]) -> float:
        """Cosine similarity with an ID embedding; 0 if the face has no embedding of the same length."""
        own = self.face.embedding
        if own is None or own.shape != embedding.shape:
            return 0.0
        length = float(np.linalg.norm(own) * np.linalg.norm(embedding))
        return float(own @ embedding) / max(length, 1e-12)


def digest_of(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """A key for a picture whose file is unknown."""
    return f"{picture.shape} {hashlib.sha256(picture.tobytes()).hexdigest()}"


class DetectedFaces:
    """Faces by the digest of their picture; the least recently used pictures are dropped first."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[str, tuple[DetectedFace, ...]] = OrderedDict()

    def get(
        self, digest: str, finder: str, find: Callable[[], Sequence[DetectedFace]]
    ) -> tuple[DetectedFace, ...]:
        """The faces that ``find`` detects in a picture, cached; ``finder`` identifies the detector.

        ``digest`` is the digest of the picture's file, or :func:`digest_of` the pixels.
        """
        key = f"{finder} {digest}"
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = tuple(find())
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found

    def forget(self, embedding: Float[np.ndarray, " d"] | None, same: float) -> None:
        """Drop every picture with a face of at least this similarity to an ID embedding; all for None."""
        with self._lock:
            for key, faces in [*self._kept.items()]:
                if embedding is None or any(one.likeness(embedding) >= same for one in faces):
                    del self._kept[key]
