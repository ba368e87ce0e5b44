"""Hostile input does no harm: the corpus of the benchmark, without the cases that take long to write."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import hostile
from benchmarks.corpus import Case


@pytest.mark.slow
@pytest.mark.parametrize("corpus", hostile.corpora())
def test_no_case_of_the_corpus_costs_much_or_ends_in_a_traceback(corpus: str):
    for outcome in hostile.outcomes_of(corpus, quick=True):
        assert not outcome.fault, outcome
        assert not outcome.processes, outcome
        assert outcome.megabytes <= hostile.MEGABYTES, outcome
        assert outcome.processor_seconds <= hostile.SECONDS, outcome


# --- the harness itself sees what it looks for ---


def _memory(_: Path) -> object:
    return len(bytearray(300 * 10**6))


def _process(_: Path) -> object:
    return subprocess.run([sys.executable, "-c", ""], check=True)


def _fault(_: Path) -> object:
    raise ZeroDivisionError


def _seen(entry_point: object) -> hostile.Outcome:
    return hostile.measured(Case(name="a", entry_point=entry_point, write=lambda folder: folder))  # pyright: ignore[reportArgumentType]


def test_memory_started_processes_and_exceptions_are_detected():
    # Less than 300 where the system takes back idle pages of the process in the meantime.
    assert 200 <= _seen(_memory).megabytes <= 400
    assert _seen(_process).processes == 1
    assert "ZeroDivisionError" in _seen(_fault).fault
    assert _seen(str).fault == ""
