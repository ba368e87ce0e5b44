"""Pictures that were uploaded to the panel, with the faces in them, for as long as they are needed."""

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
"""Of all pictures and faces together; the oldest go first."""

Crop = UInt8[np.ndarray, "side side 3"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """A picture that was uploaded, and the faces that were found in it, left to right.

    ``embeddings`` are those of the faces, and ``files`` where gradio keeps the picture.
    """

    data: bytes
    faces: tuple[Crop, ...]
    embeddings: tuple[Float[np.ndarray, " d"], ...] = ()
    files: frozenset[Path] = frozenset()

    def shows(self, embedding: Float[np.ndarray, " d"], same: float) -> bool:
        """Whether a face is at least so much like an ID embedding; both have the length 1."""
        alike = [one for one in self.embeddings if one.shape == embedding.shape]
        return any(float(one @ embedding) >= same for one in alike)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data) + sum(face.nbytes for face in self.faces)


class Uploads:
    """Pictures by the SHA-256 of their bytes: who does not have a picture cannot name it."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def put(self, kept: Kept) -> str:
        """Keep a picture; its key. The latest is always kept, however large."""
        key = hashlib.sha256(kept.data).hexdigest()
        with self._lock:
            before = self._kept.get(key)
            self._kept[key] = kept if before is None else replace(kept, files=kept.files | before.files)
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return key

    def get(self, key: str) -> Kept:
        """What was kept; ``ConfigError`` when it is gone."""
        with self._lock:
            if key not in self._kept:
                raise ConfigError(
                    "a picture that was uploaded is no longer kept (the program was started anew, or many "
                    "more were uploaded since); upload it again"
                )
            self._kept.move_to_end(key)
            return self._kept[key]

    def forget(self, shows: Callable[[Kept], bool]) -> list[Kept]:
        """Drop those of which ``shows`` says so; what is dropped."""
        with self._lock:
            gone = {key: kept for key, kept in self._kept.items() if shows(kept)}
            for key in gone:
                del self._kept[key]
        return [*gone.values()]

    def picture(self, key: str) -> bytes:
        """The file's bytes; see :class:`lib_uniid.ui.form.Pictures`."""
        return self.get(key).data
