"""JSON that others wrote, within bounds of size and depth."""

import json
from pathlib import Path
from typing import Any

MAX_VALUES = 200_000
"""Of a whole text; empty objects would take 24 times the memory of their text."""

MAX_DIGITS = 4300
"""Of a number: reading it takes quadratic time, which Python before 3.10.7 does not bound."""

MAX_FILE = 2**26
"""Bytes; presets with drawn masks and a style picture have some megabytes."""


def parsed(text: str) -> Any:
    """The value of a text.

    Raises ValueError: no JSON, more than :data:`MAX_VALUES` values, nested too deeply, or a number of more
    than :data:`MAX_DIGITS` digits.
    """
    values = sum(map(text.count, ",[{"))  # never fewer than there are
    if values > MAX_VALUES:
        raise ValueError(f"it has about {values} values, and at most {MAX_VALUES} are read")
    try:
        return json.loads(text, parse_int=whole_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def whole_number(digits: str) -> int:
    """For ``parse_int`` of :mod:`json`. Raises ValueError for more than :data:`MAX_DIGITS` digits."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has a number of {len(digits)} digits, and at most {MAX_DIGITS} are read")
    return int(digits)


def read(path: Path) -> Any:
    """The value of a file in UTF-8. Raises OSError, and ValueError as :func:`parsed` or for a large file."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"it has more than {MAX_FILE >> 20} MB")
    return parsed(data.decode("utf-8"))
