"""Reading untrusted JSON, with limits on size and depth."""

import json
from pathlib import Path
from typing import Any

MAX_VALUES = 200_000
"""Values in a text; empty objects take 24 times the memory of their text."""

MAX_DIGITS = 4300
"""Digits of a number: parsing takes quadratic time, which Python before 3.10.7 does not limit."""

MAX_FILE = 2**26
"""Bytes; presets with drawn masks and a style picture have a few megabytes."""


def parsed(text: str) -> Any:
    """The value of a text.

    Raises ValueError: not JSON, more than :data:`MAX_VALUES` values, nested too deeply, or a number of more
    than :data:`MAX_DIGITS` digits.
    """
    values = sum(map(text.count, ",[{"))  # an upper bound
    if values > MAX_VALUES:
        raise ValueError(f"it has about {values} values; at most {MAX_VALUES} are read")
    try:
        return json.loads(text, parse_int=whole_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def whole_number(digits: str) -> int:
    """For ``parse_int`` of :mod:`json`. Raises ValueError for more than :data:`MAX_DIGITS` digits."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has a number of {len(digits)} digits; at most {MAX_DIGITS} are read")
    return int(digits)


def read(path: Path) -> Any:
    """The value of a UTF-8 file. Raises OSError, and ValueError as :func:`parsed` or for a large file."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"it is larger than {MAX_FILE >> 20} MB")
    return parsed(data.decode("utf-8"))
