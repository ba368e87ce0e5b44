"""The header of a PyTorch file, read without unpickling; see ``opcodes``."""

import math
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, no_type_check

from lib_uniid.checkpoints.opcodes import MAX_NAME, BoundedReader, PickleError, checked, follow

Shape = tuple[int, ...]

MAX_PICKLE = 16 * 2**20
"""Bytes of the pickle without the tensors; the published files need less than one MB."""

MAX_DIRECTORY = 4 * 2**20
"""Bytes of a zip archive's directory; the published files need less than 200 kB."""

MAX_ENTRIES, MAX_DIMENSIONS = 100_000, 16
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_AGAIN = "download it again"

_STORAGES: Mapping[str, tuple[str, int]] = {
    "Double": ("F64", 8),
    "Float": ("F32", 4),
    "Half": ("F16", 2),
    "BFloat16": ("BF16", 2),
    "Long": ("I64", 8),
    "Int": ("I32", 4),
    "Short": ("I16", 2),
    "Char": ("I8", 1),
    "Byte": ("U8", 1),
    "Bool": ("BOOL", 1),
    "Untyped": ("U8", 1),
    "ComplexFloat": ("C64", 8),
    "ComplexDouble": ("C128", 16),
}
"""safetensors' name of the type, and bytes per number, of each of torch's storages."""


@no_type_check  # made for every tensor; see opcodes
@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's shape and type, without its values; ``type`` is safetensors' name."""

    shape: Shape
    type: str


@no_type_check
@dataclass(frozen=True, slots=True)
class _Storage:
    type: str
    width: int
    numbers: int = 0
    key: str = ""


@no_type_check
def _tensor(storage: Any, _offset: Any, size: Any, *_: object) -> Tensor:
    sides = tuple(size)
    if len(sides) > MAX_DIMENSIONS or not all(type(side) is int and side >= 0 for side in sides):
        raise PickleError(f"has a tensor with an invalid shape; {_AGAIN}")
    if math.prod(sides) > storage.numbers:
        raise PickleError(f"has a tensor of shape {list(sides)}, larger than its stored data; {_AGAIN}")
    return Tensor(sides, storage.type)


@no_type_check
def _ordered(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    return {checked(key): value for key, value in pairs}


def _nothing(*_: object) -> None:
    return None


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch", "Size"): tuple,
    ("torch", "device"): _nothing,
    ("torch.serialization", "_get_layout"): _nothing,
} | {
    (module, f"{kind}Storage"): _Storage(*known)
    for kind, known in _STORAGES.items()
    for module in ("torch", "torch.storage")
}


class _Reading:
    """The pickles of one file; ``size`` is the file's, in bytes."""

    def __init__(self, size: int) -> None:
        self.size, self.storages = size, dict[str, int]()

    @no_type_check
    def stored(self, pid: Any) -> _Storage:
        """The stand-in for ``("storage", type, key, location, numbers, ...)``."""
        if type(pid) is not tuple or not isinstance(pid[1], _Storage) or type(pid[4]) is not int:
            raise PickleError(f"is a truncated or damaged PyTorch file (a storage is invalid); {_AGAIN}")
        kind, key, numbers = pid[1], str(checked(pid[2])), pid[4]
        self.storages[key] = max(self.storages.get(key, 0), numbers * kind.width)
        return _Storage(kind.type, kind.width, numbers, key)

    def next(self, stream: BufferedIOBase) -> Any:
        return follow(stream, _KNOWN, self.stored)

    def tensors(self, stream: BufferedIOBase) -> dict[str, Tensor]:
        value = self.next(stream)
        if type(value) is not dict:
            raise PickleError(
                "does not hold a dictionary of tensors; choose a weights file, not a pickled model"
            )
        if sum(self.storages.values()) > self.size:
            raise PickleError(f"has tensors that are larger than the file; {_AGAIN}")
        return {name: leaf for name, leaf in flatten(value).items() if isinstance(leaf, Tensor)}


def read_zip(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of ``torch.save`` since PyTorch 1.6.

    Raises:
        PickleError: truncated, hostile, or another type of archive.
    """
    with BoundedReader(path, MAX_DIRECTORY) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entry = _pickle_entry(archive)
                file.left = entry.file_size + MAX_NAME
                data = archive.read(entry)
        except PickleError:
            raise
        except Exception as error:  # a damaged archive can raise nearly any error
            raise PickleError(f"is a truncated or damaged PyTorch file ({error}); {_AGAIN}") from error
    return _Reading(path.stat().st_size).tensors(BytesIO(data))


def read_legacy(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of PyTorch before 1.6: a magic number, a version, the system, then the pickle.

    Raises:
        PickleError: truncated, hostile, or a pickle of another type.
    """
    with BoundedReader(path, MAX_PICKLE) as file:
        reading = _Reading(path.stat().st_size)
        magic = reading.next(file)
        if type(magic) is not int or magic != _LEGACY_MAGIC:
            raise PickleError("is a pickle, but not of PyTorch weights; choose a safetensors or .bin file")
        for _ in ("protocol version", "system"):
            reading.next(file)
        return reading.tensors(file)


def _pickle_entry(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    names = [entry.filename for entry in archive.infolist()]
    entries = [entry for entry in archive.infolist() if entry.filename.split("/")[1:] == ["data.pkl"]]
    if len(entries) != 1 or len(set(names)) != len(names):
        raise PickleError("is a zip archive, not weights; unpack it and choose the weights file in it")
    if entries[0].file_size > MAX_PICKLE or any(entry.compress_type for entry in archive.infolist()):
        raise PickleError(
            "is not a file of torch.save (compressed, or too long), so it is refused; " + _AGAIN
        )
    return entries[0]


def flatten(nested: Mapping[Any, Any]) -> dict[str, Any]:
    """Flatten nested dictionaries; their names are joined with dots.

    Raises:
        PickleError: two entries get the same name, or there are more than weights have (as in a dictionary
            that contains itself).
    """
    flat: dict[str, Any] = {}
    pending: list[tuple[str, Mapping[Any, Any]]] = [("", nested)]
    visited = 0
    while pending:
        prefix, group = pending.pop()
        visited += len(group)
        if visited > MAX_ENTRIES or len(prefix) > MAX_NAME:
            raise PickleError(f"has more nested dictionaries than weights have, so it is refused; {_AGAIN}")
        for key, value in group.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping):
                pending.append((f"{name}.", value))
            elif name in flat:
                raise PickleError(f"holds {name} twice; {_AGAIN}")
            else:
                flat[name] = value
    return flat
