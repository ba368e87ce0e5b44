"""Tests of the figures that benchmarks print."""

import json
import math

import pytest

from benchmarks.__main__ import main
from benchmarks.report import Figure, report

FIGURES = (
    Figure.at_most("attention/sd15/people=2/ratio", 1.03, "x", 1.04),
    Figure(name="attention/sd15/plain", value=14.0, unit="s"),
)


def test_json_is_one_object_with_the_five_keys_per_line(capsys: pytest.CaptureFixture[str]):
    assert report(FIGURES, as_json=True) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "name": "attention/sd15/people=2/ratio",
        "value": 1.03,
        "unit": "x",
        "target": "<= 1.04",
        "holds": True,
    }
    assert second["target"] is None
    assert second["holds"] is None


def test_the_table_is_aligned_and_names_missed_targets(capsys: pytest.CaptureFixture[str]):
    missed = Figure.at_least("miniature/sd15/text_kept", 0.8, "share", 0.9)
    assert report([*FIGURES, missed], as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index(value) for line, value in zip(lines, ["1.03", "14", "0.8"], strict=True)}) == 1
    assert lines[-1].endswith(">= 0.9   MISSED")


def test_nan_never_meets_a_target():
    assert Figure.at_least("x", math.nan, "", 1.0).holds is False
    assert Figure.at_most("x", math.nan, "", 1.0).holds is False


def test_an_unknown_benchmark_is_refused_with_the_list_of_benchmarks(capsys: pytest.CaptureFixture[str]):
    assert main(["weather"]) == 2
    assert "choose one of" in capsys.readouterr().err
