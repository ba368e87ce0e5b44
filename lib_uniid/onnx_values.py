"""Checks that the weights in an ONNX file are finite, block by block and without the onnx package.

Field numbers and types are from onnx.proto.
"""

from collections.abc import Iterator
from pathlib import Path

from lib_uniid.errors import UnknownCheckpointError
from lib_uniid.onnx_header import (
    GRAPH,
    INITIALIZER,
    Buffer,
    Extent,
    TooManyFieldsError,
    fields,
    first_text,
    nested,
    opened,
    tensor_name,
)

_FUNCTIONS = 25  # of ModelProto
_NODE, _SPARSE = 1, 15  # of GraphProto
_NODE_OUTPUT, _ATTRIBUTE = 2, 5  # of NodeProto
_TENSOR, _TENSORS = 5, 10  # of AttributeProto
_SUBGRAPHS, _SPARSE_TENSORS = (6, 11), (22, 23)
_DIMS, _DATA_TYPE, _FLOATS, _INTEGERS, _RAW, _DOUBLES, _LOCATION = 1, 2, 4, 5, 9, 10, 14  # of TensorProto
_FLOAT, _HALF, _DOUBLE, _BFLOAT = 1, 10, 11, 16  # of TensorProto.DataType
_WHOLE = frozenset({2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 21, 22})  # integers, bool and strings
_EXPONENTS = {
    _FLOAT: ("<u4", 0x7F80_0000),
    _HALF: ("<u2", 0x7C00),
    _DOUBLE: ("<u8", 0x7FF0_0000_0000_0000),
    _BFLOAT: ("<u2", 0x7F80),
}
"""Unsigned integers of a type's width, and the bits that are all set only in NaN and infinite values."""

_BLOCK = 2**18
"""Bytes per block; a block fits the processor's cache."""

_Unchecked = dict[str, None]
"""What was not checked, as an ordered set of phrases."""


def require_finite(path: Path) -> str | None:
    """Read the weights of an ONNX file: initializers, and constants of more than one number in its nodes.

    Returns:
        What was not checked, in words, or None if all weights were. The outputs of the networks are always
        checked (:mod:`lib_uniid.faces.detection`).

    Raises:
        UnknownCheckpointError: names the first tensor with NaN or infinite values.
    """
    unchecked: _Unchecked = {}
    name = None
    try:
        with opened(path) as data:
            name = next(_broken(data, unchecked), None)
    except TooManyFieldsError as error:
        unchecked[str(error)] = None
    except (OSError, ValueError, IndexError):
        unchecked["the file is damaged"] = None
    if name is not None:
        raise UnknownCheckpointError(
            f"{path.name} is damaged: {name} holds values that are NaN or infinite; download it again"
        )
    return "; ".join(unchecked) or None


def _broken(data: Buffer, unchecked: _Unchecked) -> Iterator[str]:
    for name, tensor in _tensors(data, unchecked):
        if not _is_finite(data, *tensor, unchecked):
            yield name.decode(errors="replace")


def _tensors(data: Buffer, unchecked: _Unchecked) -> Iterator[tuple[bytes, Extent]]:
    """Initializers first: nodes may exceed the limit on fields."""
    graphs = list(nested(data, 0, len(data), GRAPH))
    for graph in graphs:
        for tensor in nested(data, *graph, INITIALIZER):
            yield tensor_name(data, *tensor), tensor
    for graph in graphs:
        for number, field in fields(data, *graph):
            if number == _NODE:
                yield from _constants(data, *field, unchecked)
            elif number == _SPARSE:
                unchecked["sparse weights"] = None
    if any(True for _ in nested(data, 0, len(data), _FUNCTIONS)):
        unchecked["weights in functions"] = None


def _constants(data: Buffer, start: int, end: int, unchecked: _Unchecked) -> Iterator[tuple[bytes, Extent]]:
    for attribute in nested(data, start, end, _ATTRIBUTE):
        for number, field in fields(data, *attribute):
            if number in (_TENSOR, _TENSORS):
                if _is_one_number(data, *field):
                    continue
                name = tensor_name(data, *field) or first_text(data, start, end, _NODE_OUTPUT)
                yield name or b"a constant", field
            elif number in _SUBGRAPHS:
                unchecked["weights in subgraphs"] = None
            elif number in _SPARSE_TENSORS:
                unchecked["sparse weights"] = None


def _is_one_number(data: Buffer, start: int, end: int) -> bool:
    """Whether a node's constant is a scalar: a bound or a mask's value, which may be infinite."""
    return all(side == (1, 1) for number, side in fields(data, start, end) if number == _DIMS)


def _is_finite(data: Buffer, start: int, end: int, unchecked: _Unchecked) -> bool:
    kind, _ = dict(fields(data, start, end)).get(_DATA_TYPE, (0, 0))
    if kind not in _EXPONENTS and kind not in _WHOLE:
        unchecked["weights of a type other than float16, bfloat16, float32 and float64"] = None
    for number, (first, last) in fields(data, start, end):
        finite = True
        if number == _LOCATION and first:
            unchecked["weights in other files"] = None
        elif number == _RAW and kind in _EXPONENTS:
            finite = _are_finite(data, first, last, kind)
        elif number in (_FLOATS, _DOUBLES):
            finite = _are_finite(data, first, last, _FLOAT if number == _FLOATS else _DOUBLE)
        elif number == _INTEGERS and kind in (_HALF, _BFLOAT):
            finite = _are_finite_halves(data, first, last, kind)
            if first == last:
                unchecked["16-bit weights that are not packed"] = None
        if not finite:
            return False
    return True


def _are_finite(data: Buffer, first: int, last: int, kind: int) -> bool:
    import numpy as np  # doctor runs without it

    form, exponent = _EXPONENTS[kind]
    width, bits = np.dtype(form).itemsize, np.dtype(form).type(exponent)
    for at in range(first, last, _BLOCK):
        block = data[at : min(at + _BLOCK, last)]
        if ((np.frombuffer(block, form, len(block) // width) & bits) == bits).any():
            return False
    return True


def _are_finite_halves(data: Buffer, first: int, last: int, kind: int) -> bool:
    """The same for 16-bit numbers that are stored as variable-length integers.

    These have 7 bits per byte, the lowest first; only the last byte is below 0x80. So bits 7 to 13 are in the
    second byte, and bit 14, the exponent's highest, is the lowest of the third.
    """
    import numpy as np

    second = np.uint8(0x80 | _EXPONENTS[kind][1] >> 7 & 0x7F)
    for at in range(first, last, _BLOCK):
        before = data[at - 1 : at] if at > first else b"\0"
        block = np.frombuffer(before + data[at : min(at + _BLOCK + 2, last)], np.uint8)
        begins = (block[:-3] < 0x80) & (block[1:-2] >= 0x80)
        if (begins & (block[2:-1] & second == second) & (block[3:] & 1 == 1)).any():
            return False
    return True
