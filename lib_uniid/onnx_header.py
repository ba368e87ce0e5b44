"""Inputs and outputs of an ONNX file, read without its weights; and whether the weights are numbers.

An ONNX file is one protocol buffer. Weights are fields to skip over, so a file of 170 MB is looked through in
milliseconds and without the onnx package. Field numbers are from onnx.proto.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib_uniid.errors import UnknownCheckpointError

MAX_FIELDS = 200_000
"""Of all messages of a file together; insightface's largest have a few thousand."""

MAX_NAME = 1000
_GRAPH = 7  # of ModelProto
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12  # of GraphProto
_NAME, _TYPE = 1, 2  # of ValueInfoProto
_DATA_TYPE, _FLOATS, _TENSOR_NAME, _RAW, _DOUBLES = 2, 4, 8, 9, 10  # of TensorProto
_WIDTHS = {1: "<f4", 10: "<f2", 11: "<f8"}  # by TensorProto.DataType
_BLOCK = 2**22  # bytes that are looked at together
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


class Buffer(mmap.mmap):
    """A file's bytes, and how many fields were read of them."""

    fields = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxHeader:
    """Shape of the first input (0 for a free side) and the number of outputs."""

    input_shape: tuple[int, ...]
    outputs: int

    @property
    def detects(self) -> bool:
        """insightface takes it for a face detector (its model_zoo routes by these rules)."""
        return self.outputs >= 5

    @property
    def recognises(self) -> bool:
        """insightface takes it for a face recogniser."""
        sides = self.input_shape[2:4]
        return self.outputs == 1 and len(sides) == 2 and sides[0] == sides[1] >= 112 and not sides[0] % 16


def read_onnx_header(path: Path) -> OnnxHeader | None:
    """What insightface decides by; None where a file is no ONNX model, damaged, or has too many fields."""
    try:
        with path.open("rb") as file, Buffer(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(data)
    except (OSError, ValueError, IndexError):
        return None


def require_finite(path: Path) -> None:
    """Read the initializers of an ONNX file: raw float16, float32 and float64, and packed floats and doubles.

    Raises UnknownCheckpointError: the first ones with NaN or infinite values, by name. Other encodings,
    ``Constant`` nodes and files of more than :data:`MAX_FIELDS` fields are not checked here; what the
    networks compute of them is (:mod:`lib_uniid.faces.detection`).
    """
    try:
        with path.open("rb") as file, Buffer(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graph = _graph(data)
            tensors = () if graph is None else _nested(data, *graph, _INITIALIZER)
            broken = (one for one in tensors if not _is_finite(data, *one))
            name = next((_tensor_name(data, *one).decode(errors="replace") for one in broken), None)
    except (OSError, ValueError, IndexError):
        return
    if name is not None:
        raise UnknownCheckpointError(
            f"{path.name} is damaged: {name} holds values that are NaN or infinite; download it again"
        )


def _is_finite(data: Buffer, start: int, end: int) -> bool:
    import numpy as np  # doctor runs without it

    fields = dict(_fields(data, start, end))
    raw = _WIDTHS.get(fields.get(_DATA_TYPE, (0, 0))[0]) if _RAW in fields else None
    for field, kind in ((_RAW, raw), (_FLOATS, "<f4"), (_DOUBLES, "<f8")):
        if kind is None or field not in fields:
            continue
        first, last = fields[field]
        for at in range(first, last, _BLOCK):
            block = data[at : min(at + _BLOCK, last)]
            if not np.isfinite(np.frombuffer(block, kind, len(block) // np.dtype(kind).itemsize)).all():
                return False
    return True


def _graph(data: Buffer) -> tuple[int, int] | None:
    return next(_nested(data, 0, len(data), _GRAPH), None)


def _read(data: Buffer) -> OnnxHeader | None:
    graph = _graph(data)
    if graph is None:
        return None
    weights: set[bytes] = set()
    inputs: list[tuple[bytes, tuple[int, ...]]] = []
    outputs = 0
    for number, (start, end) in _fields(data, *graph):
        if number == _INPUT:
            inputs.append(_value_info(data, start, end))
        elif number == _INITIALIZER:
            weights.add(_tensor_name(data, start, end))
        outputs += number == _OUTPUT
    # Old exporters list weights as inputs, too.
    shapes = [shape for name, shape in inputs if name not in weights]
    return OnnxHeader(input_shape=shapes[0], outputs=outputs) if shapes else None


def _value_info(data: Buffer, start: int, end: int) -> tuple[bytes, tuple[int, ...]]:
    name, shape = b"", ()
    for number, (first, last) in _fields(data, start, end):
        if number == _NAME:
            name = data[first : min(last, first + MAX_NAME)]
        elif number == _TYPE:
            shape = _shape(data, first, last)
    return name, shape


def _shape(data: Buffer, start: int, end: int) -> tuple[int, ...]:
    """TypeProto.tensor_type (1) . shape (2) . dim (1) . dim_value (1)."""
    sides: list[int] = []
    for tensor in _nested(data, start, end, 1):
        for shape in _nested(data, *tensor, 2):
            for dimension in _nested(data, *shape, 1):
                values = [field[0] for number, field in _fields(data, *dimension) if number == 1]
                sides.append(values[0] if values else 0)
    return tuple(sides)


def _tensor_name(data: Buffer, start: int, end: int) -> bytes:
    names = _nested(data, start, end, _TENSOR_NAME)
    return next((data[first : min(last, first + MAX_NAME)] for first, last in names), b"")


def _nested(data: Buffer, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    return (field for number, field in _fields(data, start, end) if number == wanted)


def _fields(data: Buffer, start: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Number and extent of every field; of an integer, its value twice."""
    position = start
    while position < end:
        data.fields += 1
        if data.fields > MAX_FIELDS:
            raise ValueError(f"more than {MAX_FIELDS} fields")
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
            raise ValueError("a field ends behind its message")
        yield key >> 3, (position, position + length)
        position += length


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
