"""Tests of the soak: a short one of both stand-in hosts leaves nothing, and leaks are detected."""

import json
from collections.abc import Iterator
from itertools import count, pairwise

import pytest

from benchmarks.soak import KINDS, main
from tests.hosts.webui.soak import Soaked, Traces, order, soak


@pytest.mark.slow
@pytest.mark.parametrize("host", ["a1111", "forge"])
def test_generations_leave_nothing_and_are_independent(host: str, capsys: pytest.CaptureFixture[str]):
    main(["--json", "--generations", "12", "--host", host])
    found = {figure["name"]: figure for figure in map(json.loads, capsys.readouterr().out.splitlines())}
    held = {name: one["value"] for name, one in found.items() if one["target"] and "memory" not in name}
    names = ("unlike_the_first_of_their_kind", "hooks_left", "runs_left")
    assert held == {f"soak/{host}/{name}": 0 for name in names}
    assert found[f"soak/{host}/interrupts"]["value"] > 0


def test_every_kind_of_generation_follows_every_other():
    kinds = list(KINDS)
    made = [kind for kind, _ in order(kinds, 500)]
    assert len(set(pairwise(made))) == len(kinds) ** 2
    assert {kind for kind, interrupted in order(kinds, 500) if interrupted} == set(kinds)


class Leaking:
    """Gives what it is told to."""

    def __init__(self, results: Iterator[str], left: Iterator[Traces]) -> None:
        self.results, self.left = results, left

    def make(self, kind: str, *, interrupted: bool) -> str:
        return next(self.results)

    def traces(self) -> Traces:
        return next(self.left)


def seen(results: Iterator[str], left: Iterator[Traces]) -> Soaked:
    return soak(Leaking(results, left), {"one": {}}, 100)


def test_dependence_on_earlier_generations_is_detected():
    still = (Traces(0, 0, 1) for _ in count())
    assert seen((str(number // 99) for number in count()), still).other == ["99: one"]


def test_growing_hooks_states_and_memory_are_detected():
    grown = seen(("" for _ in count()), (Traces(number, 2, 1000 * number) for number in count()))
    assert (grown.hooks, grown.runs) == (100, 2)
    assert grown.slope == pytest.approx(1000)
    assert grown.drift > 1
    assert grown.last_growth == 100
    noise = seen(("" for _ in count()), (Traces(0, 0, 10**6 + 5000 * (number % 7)) for number in count()))
    assert noise.drift < 1
    assert noise.last_growth == 6
