"""Pictures that were uploaded to the panel, with the faces in them, for as long as they are needed."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from lib_uniid.errors import ConfigError
from lib_uniid.typing import UInt8

MAX_BYTES = 512 * 2**20
"""Of all pictures and faces together; the oldest go first."""

Crop = UInt8[np.ndarray, "side side 3"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """A file as it was uploaded, and the faces that were found in it, left to right."""

    data: bytes
    faces: tuple[Crop, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data) + sum(face.nbytes for face in self.faces)


class Uploads:
    """Pictures by the digest of their bytes: who does not have a picture cannot name it."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def put(self, kept: Kept) -> str:
        """Keep a picture; its key. The latest is always kept, however large."""
        key = hashlib.sha256(kept.data).hexdigest()
        with self._lock:
            self._kept[key] = kept
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

    def picture(self, key: str) -> bytes:
        """The file's bytes; see :class:`lib_uniid.ui.form.Pictures`."""
        return self.get(key).data
