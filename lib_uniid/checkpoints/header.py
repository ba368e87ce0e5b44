"""Names, shapes and types of a file's tensors, without loading it.

safetensors files have these in a header. PyTorch files have them in a pickle; ``pickled`` parses it without
unpickling and within limits, so even a hostile file is safe to inspect.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lib_uniid.checkpoints.opcodes import PickleError
from lib_uniid.checkpoints.pickled import Shape, Tensor, read_legacy, read_zip
from lib_uniid.checkpoints.safetensors_header import read_table
from lib_uniid.errors import MissingModelError, UnknownCheckpointError

# Common wrong files, by their first bytes.
_LOOKALIKES = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself; fetch it with git lfs pull"),
    (b"GGUF", "a GGUF model; get the safetensors or .bin file"),
    (b"\x89HDF", "an HDF5 file (Keras or TensorFlow); get the safetensors or .bin file"),
    (b"\x89PNG", "a PNG picture; choose the weights file"),
    (b"\xff\xd8\xff", "a JPEG picture; choose the weights file"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"\x08", "an ONNX model; a safetensors or .bin file is needed here"),
)
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml", b'{"error')
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_AGAIN = "download it again"

Container = Literal["safetensors", "torch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header of a weights file.

    Attributes:
        path: the file.
        container: the type of the file.
        shapes: of every tensor, by name; names of nested dictionaries are joined with dots.
        metadata: texts in a safetensors file.
        types: of every tensor, with safetensors' names: ``F16``, ``I64``.
    """

    path: Path
    container: Container
    shapes: Mapping[str, Shape]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    types: Mapping[str, str] = field(default_factory=dict[str, str])


def read_header(path: Path) -> Header:
    """Read a file's header by its content; its name does not matter.

    Raises:
        MissingModelError: the file does not exist.
        UnknownCheckpointError: empty, truncated, hostile, or not weights; the message has the reason.
    """
    if not path.exists():
        raise MissingModelError(
            f"file {path} not found; check the path, or see what is missing with uniid doctor"
        )
    if not path.is_file():
        where = " in it" if path.is_dir() else ""
        raise UnknownCheckpointError(f"{path} is not a file; choose the weights file{where}")
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(_ZIP):
        return _torch_header(path, read_zip)
    if head[8:9] == b"{":  # before the lookalikes: the header's length may begin with any byte
        return _safetensors_header(path)
    if head.startswith(_PICKLE):
        return _torch_header(path, read_legacy)
    raise UnknownCheckpointError(f"{path.name} {_describe(head)}")


def _describe(head: bytes) -> str:
    if not head:
        return f"is empty (0 bytes); {_AGAIN}"
    if head.lstrip().lower().startswith(_WEB_PAGE):
        return f"is a web page, probably an error message of the download; {_AGAIN} and read the page"
    for magic, what in _LOOKALIKES:
        if head.startswith(magic):
            return f"is {what}"
    return f"is not a weights file: it begins with {head[:12]!r}; choose a safetensors or .bin file"


def _safetensors_header(path: Path) -> Header:
    try:
        tensors, metadata = read_table(path)
    except (OSError, ValueError) as error:
        raise UnknownCheckpointError(
            f"{path.name} is a damaged or truncated safetensors file ({error}); {_AGAIN}"
        ) from error
    return _header(path, "safetensors", tensors, metadata)


def _torch_header(path: Path, read: Callable[[Path], dict[str, Tensor]]) -> Header:
    try:
        return _header(path, "torch", read(path), {})
    except PickleError as error:
        raise UnknownCheckpointError(f"{path.name} {error}") from error


def _header(
    path: Path, container: Container, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> Header:
    return Header(
        path=path,
        container=container,
        shapes={name: tensor.shape for name, tensor in tensors.items()},
        metadata=metadata,
        types={name: tensor.type for name, tensor in tensors.items()},
    )
