"""The table of contents of a PyTorch file, read without running anything.

A pickle is a program. This unpickler knows only the few names that ``torch.save`` needs for tensors in
dictionaries, and gives each a stand-in that keeps shapes; any other name ends the reading and is reported.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]

MAX_PICKLE = 64 * 2**20
"""Bytes of the pickle alone, without the tensors; the published files need less than one MB."""

MAX_ENTRIES, MAX_NAME = 100_000, 1000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_AGAIN = "download it again"


class PickleError(Exception):
    """What is wrong with the file and what to do, to be put behind its name."""


class _Tensor:
    """Stands in for a tensor."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


class _Ignored:
    """Stands in for a storage, a type, or anything else that says nothing about shapes."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _tensor(_storage: object, _offset: int, size: Any, *_: object) -> _Tensor:
    return _Tensor(tuple(int(side) for side in size))


def _parameter(data: object, *_: object) -> object:
    return data


_KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): _Ignored,
    ("torch.serialization", "_get_layout"): _Ignored,
}
_STORAGES = frozenset(
    f"{kind}Storage"
    for kind in (
        "Float",
        "Double",
        "Half",
        "BFloat16",
        "Long",
        "Int",
        "Short",
        "Char",
        "Byte",
        "Bool",
        "Untyped",
    )
)


class _Unpickler(pickle.Unpickler):
    """Knows what ``torch.save`` writes for tensors, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in {"torch", "torch.storage"} and name in _STORAGES:
            return _Ignored
        raise PickleError(
            f"would run {module}.{name} when loaded, which weights never need, so it is refused; "
            "get the file from its official source, or a safetensors version of it"
        )

    def persistent_load(self, pid: Any) -> _Ignored:
        return _Ignored()


def read_zip(path: Path) -> dict[str, Shape]:
    """Shapes in a file that ``torch.save`` has written since PyTorch 1.6.

    Raises:
        PickleError: truncated, hostile, or another kind of archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entry = _pickle_entry(archive)
            return _shapes(_load(BytesIO(archive.read(entry))))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise PickleError(f"is a truncated or damaged PyTorch file ({error}); {_AGAIN}") from error


def read_legacy(path: Path) -> dict[str, Shape]:
    """Shapes in a file of PyTorch before 1.6: a magic number, a version, the system, then the pickle itself.

    Raises:
        PickleError: truncated, hostile, or a pickle of another kind.
    """
    with path.open("rb") as file:
        if _load(file) != _LEGACY_MAGIC:
            raise PickleError("is a pickle, but not of PyTorch weights; choose a safetensors or .bin file")
        for _ in ("protocol version", "system"):
            _load(file)
        return _shapes(_load(file))


def _pickle_entry(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    entries = [entry for entry in archive.infolist() if entry.filename.split("/")[1:] == ["data.pkl"]]
    if len(entries) != 1:
        raise PickleError("is a zip archive, not weights; unpack it and choose the weights file in it")
    if entries[0].file_size > MAX_PICKLE or any(entry.compress_type for entry in archive.infolist()):
        raise PickleError(
            "is not as torch.save writes it (compressed, or too long), so it is refused; " + _AGAIN
        )
    return entries[0]


def _load(file: BufferedIOBase) -> Any:
    """One pickle of the stream; a damaged one can raise nearly anything."""
    try:
        return _Unpickler(file).load()
    except PickleError:
        raise
    except Exception as error:
        raise PickleError(f"is a truncated or damaged PyTorch file ({error}); {_AGAIN}") from error


def _shapes(value: object) -> dict[str, Shape]:
    if not isinstance(value, dict):
        raise PickleError(
            "holds no dictionary of tensors; choose the weights file, not a whole model or a picture"
        )
    shapes: dict[str, Shape] = {}
    for name, leaf in flatten(value).items():
        if isinstance(leaf, _Tensor):
            shapes[name] = leaf.shape
    return shapes


def flatten(nested: Mapping[Any, Any]) -> dict[str, Any]:
    """Nested dictionaries as one, their names joined with dots.

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
            raise PickleError(f"nests its dictionaries as weights never do, so it is refused; {_AGAIN}")
        for key, value in group.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping):
                pending.append((f"{name}.", value))
            elif name in flat:
                raise PickleError(f"holds {name} twice; {_AGAIN}")
            else:
                flat[name] = value
    return flat
