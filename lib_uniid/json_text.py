"""JSON that others wrote, within bounds of size and depth."""

import json
from pathlib import Path
from typing import Any

MAX_VALUES = 200_000
"""Of a whole text; empty objects would take 24 times the memory of their text."""

MAX_FILE = 2**26
"""Bytes; presets with drawn masks and a style picture have some megabytes."""


def parsed(text: str) -> Any:
    """The value of a text.

    Raises ValueError: no JSON, more than :data:`MAX_VALUES` values, or nested too deeply.
    """
    values = sum(map(text.count, ",[{"))  # never fewer than there are
    if values > MAX_VALUES:
        raise ValueError(f"it has about {values} values, and at most {MAX_VALUES} are read")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read(path: Path) -> Any:
    """The value of a file in UTF-8. Raises OSError, and ValueError as :func:`parsed` or for a large file."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"it has more than {MAX_FILE >> 20} MB")
    return parsed(data.decode("utf-8"))
