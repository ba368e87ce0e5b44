"""A models folder's description of its own files: ``shipped.json`` has a licence and purposes of files.

Files are identified by name, size and SHA-256: another file of the same name keeps its own licence.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_uniid import json_text
from lib_uniid.errors import UnknownCheckpointError
from lib_uniid.files import sha256

FILE = "shipped.json"
MAX_TEXT = 300
"""Characters of the licence and of a purpose."""

_WEIGHTS = ("*.onnx", "*.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedFile:
    """One file: bytes, digest in hex, and its purpose if it is not a published file."""

    size: int
    sha256: str
    purpose: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """The licence of the shipped files, and the files by name."""

    licence: str
    files: Mapping[str, ShippedFile]

    @classmethod
    def of(cls, folder: Path) -> "Shipped | None":
        """A models folder's description; None without one, ``UnknownCheckpointError`` for a damaged one."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            raw = json_text.read(path)
            return cls(
                licence=_text(raw["licence"]),
                files={name: _file_of(one) for name, one in dict[str, Any](raw["files"]).items()},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnknownCheckpointError(
                f"{path} cannot be read ({error}); delete it, or download it again with its files"
            ) from error

    def includes(self, path: Path) -> bool:
        """Whether a file is one of these; for a folder, whether all its ONNX and safetensors files are."""
        with suppress(OSError):
            parts = [path] if path.is_file() else [one for end in _WEIGHTS for one in path.rglob(end)]
            return bool(parts) and all(self._is_one(part) for part in parts)
        return False

    def purpose(self, path: Path) -> str | None:
        """The purpose of a file; None if it is not given or the file is another one."""
        one = self.files.get(path.name)
        return one.purpose if one is not None and one.purpose and self.includes(path) else None

    def _is_one(self, path: Path) -> bool:
        one = self.files.get(path.name)
        return one is not None and path.stat().st_size == one.size and sha256(path) == one.sha256


def _file_of(raw: Any) -> ShippedFile:
    size, purpose = raw["size"], raw.get("purpose")
    if not isinstance(size, int):
        raise TypeError(f"a size must be a whole number of bytes, got {str(size)[:40]!r}")
    return ShippedFile(
        size=size,
        sha256=_text(raw["sha256"]),
        purpose=None if purpose is None else _text(purpose),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise ValueError(f"a text of 1 to {MAX_TEXT} characters is needed, got {str(value)[:40]!r}")
    return value
