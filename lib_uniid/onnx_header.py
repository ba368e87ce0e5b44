"""Inputs and outputs of an ONNX file, read without its weights.

An ONNX file is one protocol buffer. Weights are skipped, so a file of 170 MB is parsed in milliseconds and
without the onnx package. Field numbers are from onnx.proto.
"""

import mmap
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import no_type_check

MAX_FIELDS = 200_000
"""Fields in all messages of a file; insightface's largest files have a few thousand."""

MAX_NAME = 1000
GRAPH = 7  # of ModelProto
INITIALIZER = 5  # of GraphProto
_INPUT, _OUTPUT = 11, 12
_NAME, _TYPE = 1, 2  # of ValueInfoProto
_TENSOR_NAME = 8  # of TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


Extent = tuple[int, int]
"""Start and end of a field; for an integer, its value twice."""


class TooManyFieldsError(ValueError):
    """A file has more than :data:`MAX_FIELDS` fields."""


class Buffer(mmap.mmap):
    """A file's bytes, and the number of fields read from them."""

    fields = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxHeader:
    """Shape of the first input (0 for a dynamic size) and the number of outputs."""

    input_shape: tuple[int, ...]
    outputs: int

    @property
    def detects(self) -> bool:
        """Whether insightface loads it as a face detector, by the rules of its model_zoo."""
        return self.outputs >= 5

    @property
    def recognises(self) -> bool:
        """Whether insightface loads it as a face recogniser."""
        sides = self.input_shape[2:4]
        return self.outputs == 1 and len(sides) == 2 and sides[0] == sides[1] >= 112 and not sides[0] % 16


def read_onnx_header(path: Path) -> OnnxHeader | None:
    """The header of an ONNX model; None if the file is not one, is damaged, or has too many fields."""
    try:
        with opened(path) as data:
            return _read(data)
    except (OSError, ValueError, IndexError):
        return None


@contextmanager
def opened(path: Path) -> Generator[Buffer]:
    """The bytes of a memory-mapped file; ``ValueError`` if it is empty."""
    with path.open("rb") as file, Buffer(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _read(data: Buffer) -> OnnxHeader | None:
    graph = next(nested(data, 0, len(data), GRAPH), None)
    if graph is None:
        return None
    weights: set[bytes] = set()
    inputs: list[tuple[bytes, tuple[int, ...]]] = []
    outputs = 0
    for number, (start, end) in fields(data, *graph):
        if number == _INPUT:
            inputs.append(_value_info(data, start, end))
        elif number == INITIALIZER:
            weights.add(tensor_name(data, start, end))
        outputs += number == _OUTPUT
    # Old exporters list weights as inputs too.
    shapes = [shape for name, shape in inputs if name not in weights]
    return OnnxHeader(input_shape=shapes[0], outputs=outputs) if shapes else None


def _value_info(data: Buffer, start: int, end: int) -> tuple[bytes, tuple[int, ...]]:
    name, shape = b"", ()
    for number, (first, last) in fields(data, start, end):
        if number == _NAME:
            name = data[first : min(last, first + MAX_NAME)]
        elif number == _TYPE:
            shape = _shape(data, first, last)
    return name, shape


def _shape(data: Buffer, start: int, end: int) -> tuple[int, ...]:
    """TypeProto.tensor_type (1) . shape (2) . dim (1) . dim_value (1)."""
    sides: list[int] = []
    for tensor in nested(data, start, end, 1):
        for shape in nested(data, *tensor, 2):
            for dimension in nested(data, *shape, 1):
                values = [field[0] for number, field in fields(data, *dimension) if number == 1]
                sides.append(values[0] if values else 0)
    return tuple(sides)


def tensor_name(data: Buffer, start: int, end: int) -> bytes:
    """The name in a TensorProto, cut to :data:`MAX_NAME` bytes."""
    return first_text(data, start, end, _TENSOR_NAME)


def first_text(data: Buffer, start: int, end: int, wanted: int) -> bytes:
    """The first field of this number, or empty bytes."""
    texts = nested(data, start, end, wanted)
    return next((data[first : min(last, first + MAX_NAME)] for first, last in texts), b"")


def nested(data: Buffer, start: int, end: int, wanted: int) -> Iterator[Extent]:
    """All fields of this number."""
    return (field for number, field in fields(data, start, end) if number == wanted)


def fields(data: Buffer, start: int, end: int) -> Iterator[tuple[int, Extent]]:
    """Number and extent of every field of a message.

    Raises:
        TooManyFieldsError: more than :data:`MAX_FIELDS` fields were read.
        ValueError, IndexError: damaged, or not a protocol buffer.
    """
    position = start
    while position < end:
        data.fields += 1
        if data.fields > MAX_FIELDS:
            raise TooManyFieldsError(f"more than {MAX_FIELDS} fields")
        key, position = _varint(data, position)
        wire = key & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, (value, value)
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in {_FIXED32, _FIXED64}:
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if position + length > end:
            raise ValueError("a field ends after its message")
        yield key >> 3, (position, position + length)
        position += length


@no_type_check  # called for every field
def _varint(data: Buffer, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise ValueError("an integer of more than 64 bits")
