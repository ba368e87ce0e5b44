"""Tests of reading untrusted JSON."""

import sys
from pathlib import Path

import pytest

from lib_uniid import json_text


def test_a_json_file_is_read_with_all_its_values(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"é": [1, 2.5, null, "a, [b] {c}"]}', encoding="utf-8")
    assert json_text.read(path) == {"é": [1, 2.5, None, "a, [b] {c}"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" + "{}," * 300_000 + "{}]", "about 600002 values; at most 200000"),
        ("9" * 10_000, "digits"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_too_deep_too_large_or_invalid_is_a_value_error_with_the_reason(text: str, said: str):
    with pytest.raises(ValueError, match=said):
        json_text.parsed(text)


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(10 * json_text.MAX_FILE)
    with pytest.raises(ValueError, match="larger than 64 MB"):
        json_text.read(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="utf-8"):
        json_text.read(path)


def test_the_digits_of_a_number_are_bounded_where_python_does_not_bound_them():
    limit = sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else None
    try:
        if limit is not None:
            sys.set_int_max_str_digits(0)
        with pytest.raises(ValueError, match="10000 digits"):
            json_text.parsed("9" * 10_000)
    finally:
        if limit is not None:
            sys.set_int_max_str_digits(limit)
