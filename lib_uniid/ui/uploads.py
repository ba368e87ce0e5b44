"""Keeps uploaded pictures and their faces in memory."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float, UInt8

MAX_BYTES = 512 * 2**20
"""Limit of all pictures and faces together, in bytes; the oldest are dropped first."""

Crop = UInt8[np.ndarray, "side side 3"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """An uploaded picture, and the faces found in it, left to right.

    ``embeddings`` are the faces' ID embeddings, ``files`` are gradio's copies of the picture.
    """

    data: bytes
    faces: tuple[Crop, ...]
    embeddings: tuple[Float[np.ndarray, " d"], ...] = ()
    files: frozenset[Path] = frozenset()

    def shows(self, embedding: Float[np.ndarray, " d"], same: float) -> bool:
        """Whether a face has at least the cosine similarity ``same`` to an ID embedding of length 1."""
        comparable = [one for one in self.embeddings if one.shape == embedding.shape]
        return any(float(one @ embedding) >= same for one in comparable)

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.data) + sum(face.nbytes for face in self.faces)


class Uploads:
    """Pictures by the SHA-256 of their bytes: a key can be computed only from the picture."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def put(self, kept: Kept) -> str:
        """Keep a picture; returns its key. The latest picture is kept at any size."""
        key = hashlib.sha256(kept.data).hexdigest()
        with self._lock:
            before = self._kept.get(key)
            self._kept[key] = kept if before is None else replace(kept, files=kept.files | before.files)
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return key

    def get(self, key: str) -> Kept:
        """The kept picture; ``ConfigError`` if it is no longer kept."""
        with self._lock:
            if key not in self._kept:
                raise ConfigError(
                    "an uploaded picture is no longer kept (the program was restarted, or too many other "
                    "pictures were uploaded); upload it again"
                )
            self._kept.move_to_end(key)
            return self._kept[key]

    def forget(self, shows: Callable[[Kept], bool]) -> list[Kept]:
        """Drop the pictures for which ``shows`` is true; returns them."""
        with self._lock:
            gone = {key: kept for key, kept in self._kept.items() if shows(kept)}
            for key in gone:
                del self._kept[key]
        return [*gone.values()]

    def picture(self, key: str) -> bytes:
        """The file's bytes; see :class:`lib_uniid.ui.form.Pictures`."""
        return self.get(key).data
