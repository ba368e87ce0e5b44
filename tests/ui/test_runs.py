"""Runs of several tabs."""

import threading
from collections.abc import Callable

import pytest

from lib_uniid.ui import runs as module
from lib_uniid.ui.runs import Run, Runs


def until(run: Run[str], go: threading.Event) -> str:
    while not go.wait(0.01):
        run.report("at work")
    return "made"


@pytest.fixture
def go() -> threading.Event:
    return threading.Event()


@pytest.fixture
def runs() -> Runs[str]:
    return Runs()


@pytest.fixture
def start(runs: Runs[str], go: threading.Event) -> Callable[[str], Run[str]]:
    return lambda tab: runs.start(tab, "begun", "waiting", lambda run: until(run, go), "cancelled")


def seen(run: Run[str], state: str) -> None:
    assert any(one == state for one in run.watch())


def test_a_second_tab_waits_until_the_first_has_ended(start: Callable[[str], Run[str]], go: threading.Event):
    first, second = start("a"), start("b")
    seen(second, "waiting")
    assert not first.done.is_set()
    go.set()
    assert [*first.watch()][-1] == [*second.watch()][-1] == "made"


def test_a_tab_ends_only_its_own_run(runs: Runs[str], start: Callable[[str], Run[str]], go: threading.Event):
    first, second = start("a"), start("b")
    runs.cancel("c")
    runs.cancel("b")
    assert [*second.watch()][-1] == "cancelled"
    seen(first, "at work")
    assert not first.done.is_set()
    go.set()
    assert [*first.watch()][-1] == "made"
    assert runs.of("c") is None


def test_a_reloaded_tab_finds_its_run_and_starts_no_second_one(
    runs: Runs[str], start: Callable[[str], Run[str]], go: threading.Event
):
    first = start("a")
    watching = first.watch()
    next(watching)
    watching.close()  # the page is reloaded
    assert runs.of("a") is first
    assert start("a") is first
    go.set()
    assert [*first.watch()][-1] == "made"
    assert start("a") is not first


def test_an_unwatched_run_ends_for_a_waiting_one(
    start: Callable[[str], Run[str]], go: threading.Event, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "UNWATCHED_SECONDS", 0.2)
    first, second = start("a"), start("b")
    seen(second, "at work")
    assert first.latest == "cancelled"
    go.set()
