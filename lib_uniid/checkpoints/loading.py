"""Loading state dicts from files, with checks before any tensor is read."""

from pathlib import Path
from typing import Any

from torch import Tensor

from lib_uniid import json_text
from lib_uniid.checkpoints.families import identify
from lib_uniid.checkpoints.format import Format
from lib_uniid.checkpoints.formats import detect
from lib_uniid.checkpoints.header import read_header
from lib_uniid.checkpoints.reading import read
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError

State = dict[str, Tensor]


def check(path: Path, expected: Format) -> dict[str, int]:
    """Check that a file is of this format and complete; returns its sizes.

    Raises:
        MissingModelError: the file does not exist.
        UnknownCheckpointError: damaged, hostile, or not weights.
        CheckpointMismatchError: weights of another type, or tensors that do not match.
    """
    header = read_header(path)
    actual = detect(header)
    if actual is not expected:
        what = f"a {actual.title}" if actual else identify(header)
        raise CheckpointMismatchError(
            f"{path.name} is not a {expected.title}: it seems to be {what}; {expected.remedy}",
            missing=expected.marks - header.shapes.keys(),
        )
    return expected.check(header)


def load(path: Path, expected: Format) -> State:
    """The used tensors of a file of this format, by flat name. Raises as ``check``."""
    check(path, expected)
    state = read(path)
    return {name: state[name] for name in expected.used(state)}


def load_groups(path: Path, expected: Format) -> dict[str, State]:
    """The same, split into the outermost dictionaries of the published file. Raises as ``check``."""
    state = load(path, expected)
    return {
        group: {
            name.removeprefix(f"{group}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"{group}.")
        }
        for group in expected.groups
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
