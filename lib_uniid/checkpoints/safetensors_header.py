"""The header of a safetensors file: a length, then JSON with type, shape and offsets of each tensor.

It is read here and not by the library, which leaks memory per tensor and accepts headers of any length. The
library checks the file again when tensors are read.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, no_type_check

from lib_uniid.checkpoints.pickled import MAX_DIMENSIONS, Tensor
from lib_uniid.json_text import whole_number

MAX_HEADER = 16 * 2**20
"""Bytes; 2 500 tensors take about 300 kB, and a trainer's metadata a few MB."""

_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def read_table(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors by name, and the metadata; ``ValueError`` with the damage."""
    whole = path.stat().st_size
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > whole - 8:
            raise ValueError(f"its header has {size} bytes, but the file has {whole}")
        if size > MAX_HEADER:
            raise ValueError(f"its header has {size} bytes, more than {MAX_HEADER}")
        data = file.read(size)
    try:
        table = json.loads(data, parse_int=whole_number)
        if type(table) is not dict:
            raise ValueError("its header is not a JSON object")
        return _parts(table, whole - 8 - size)
    except (RecursionError, TypeError, KeyError) as error:
        raise ValueError(f"its header is invalid ({error})") from error


def _parts(table: dict[str, Any], whole: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    metadata: Any = table.pop("__metadata__", None) or {}
    tensors, end = dict[str, Tensor](), 0
    for name, row in table.items():
        shape, kind, (first, last) = row["shape"], row["dtype"], row["data_offsets"]
        if not _fits(shape, kind, first, last, whole):
            raise ValueError(f"its tensor {name[:200]} does not match the file")
        tensors[name], end = Tensor(tuple(shape), kind), max(end, last)
    if end != whole:
        raise ValueError(f"its tensors need {end} bytes, but the file has {whole}")
    return tensors, _words(metadata)


@no_type_check
def _fits(shape: list[int], kind: Any, first: int, last: int, whole: int) -> bool:
    sides = len(shape) <= MAX_DIMENSIONS and all(type(side) is int and side >= 0 for side in shape)
    if not sides or type(kind) is not str or not 0 <= first <= last <= whole:
        return False
    return kind not in _WIDTHS or math.prod(shape) * _WIDTHS[kind] == last - first


def _words(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in metadata.items()} if type(metadata) is dict else {}
