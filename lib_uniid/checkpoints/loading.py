"""Loading state dicts from files, with checks before any tensor is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lib_uniid import json_text
from lib_uniid.checkpoints.families import identify
from lib_uniid.checkpoints.format import Format
from lib_uniid.checkpoints.formats import detect
from lib_uniid.checkpoints.header import Header, read_header
from lib_uniid.checkpoints.reading import read
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError
from lib_uniid.onnx_header import read_onnx_header

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFile:
    """A complete file of a format; its header is read once. ``sizes`` are those of ``Format.check``."""

    header: Header
    format: Format
    sizes: Mapping[str, int]


def check(path: Path, expected: Format) -> CheckedFile:
    """Check that a file is of this format and complete.

    Raises:
        MissingModelError: the file does not exist.
        UnknownCheckpointError: damaged, hostile, or not weights.
        CheckpointMismatchError: weights of another type, or tensors that do not match.
    """
    if path.is_file() and read_onnx_header(path) is not None:
        raise CheckpointMismatchError(
            f"{path.name} is an ONNX model and no {expected.title}; {expected.remedy}"
        )
    header = read_header(path)
    actual = detect(header)
    if actual is not expected:
        what = f"a {actual.title}" if actual else identify(header)
        raise CheckpointMismatchError(
            f"{path.name} is not a {expected.title}: it seems to be {what}; {expected.remedy}",
            missing=expected.marks - expected.bare(header.shapes).keys(),
        )
    return CheckedFile(header=header, format=expected, sizes=expected.check(header))


def load(file: CheckedFile, *, mapped: bool = False) -> State:
    """The used tensors of a file, by flat name without the format's prefix.

    ``mapped`` and errors are as for ``read``.
    """
    state = file.format.bare(read(file.header.path, file.header, mapped=mapped))
    return {name: state[name] for name in file.format.used(state)}


def load_groups(file: CheckedFile) -> dict[str, State]:
    """The same, split into the outermost dictionaries of the published file."""
    state = load(file)
    return {
        group: {
            name.removeprefix(f"{group}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"{group}.")
        }
        for group in file.format.groups
    }


def read_config(weights: Path) -> dict[str, Any] | None:
    """The ``config.json`` beside a weights file, or None if it does not exist.

    Raises:
        UnknownCheckpointError: it is not a JSON object.
    """
    path = weights.with_name("config.json")
    if not path.exists():
        return None
    try:
        config = json_text.read(path)
    except (OSError, ValueError) as error:
        raise UnknownCheckpointError(f"{path} cannot be read as JSON ({error}); download it again") from error
    if not isinstance(config, dict):
        raise UnknownCheckpointError(f"{path} is not a JSON object; download it again")
    return config
