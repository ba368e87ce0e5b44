"""The page's events without a browser: what the components are given while a series is made, and after it."""

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib_uniid.hosts.diffusers.host import DiffusersHost
from lib_uniid.runtime import Runtime
from lib_uniid.ui.form import DETECTING
from lib_uniid.ui.page_generation import PageGenerator, Shown
from lib_uniid.ui.runs import Run
from lib_uniid.ui.uploads import Uploads
from tests.standalone import needs_standalone_host, needs_standalone_page
from tests.ui.test_page_generation import OFF, SETTINGS

pytestmark = [needs_standalone_host, needs_standalone_page]
WORDS, ROUGH, GALLERY, CHECKED, EARLIER, GO, CANCEL = range(7)


@pytest.fixture(scope="module")
def maker(webui_models: Path, tmp_path_factory: pytest.TempPathFactory) -> PageGenerator:
    return PageGenerator(Runtime(webui_models), tmp_path_factory.mktemp("out"), Uploads())


@pytest.fixture
def desk(maker: PageGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from lib_uniid.ui.page_events import PageEvents

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    return PageEvents(maker)


def generate(desk: Any, **page_settings: Any) -> Iterator[list[Any]]:
    """What the components are given, again and again."""
    return desk._make("a tab", *{**SETTINGS, "steps": 1, "preview": False, **page_settings}.values(), *OFF)


def captions(update: Any) -> list[str]:
    return [caption for _, caption in update["value"] or []]


def test_the_pictures_of_a_series_are_shown_as_they_are_finished(desk: Any):
    shown = [one[GALLERY] for one in generate(desk, steps=3, pictures=4) if "value" in one[GALLERY]]
    counts = [len(captions(one)) for one in shown]
    assert counts == sorted(counts)
    assert counts[-1] == 4
    assert any(0 < one < 4 for one in counts)
    assert all(Path(path).is_file() for path, _ in shown[-1]["value"])


def selected(desk: Any, *states: Shown, loaded: bool = False) -> list[Any]:
    """What the gallery is told to select, for what a run shows; "-" where that is left to the user."""

    class Told(Run[Shown]):
        def watch(self) -> Generator[Shown]:
            yield from (self.latest, *states)

    run = Told(Shown(words=("beginning",)))
    desk.runs._of["a tab"], desk.runs.start = run, lambda *_: run
    shown = desk._watch("a tab") if loaded else generate(desk)
    return [one[GALLERY].get("selected_index", "-") for one in shown]


@pytest.fixture
def finished(tmp_path: Path) -> tuple[tuple[Path, str], ...]:
    """Pictures of a run."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        path.write_bytes(b"a picture")
    return tuple((path, path.stem) for path in paths)


def test_the_selected_picture_stays_selected_during_the_run(
    desk: Any, finished: tuple[tuple[Path, str], ...]
):
    one, two = (Shown(pictures=finished[:count]) for count in (1, 2))
    rough = Shown(pictures=finished[:2], rough=(np.zeros((1, 1, 3), np.uint8),))
    last = Shown(pictures=finished, finished=True)
    assert selected(desk, one, two, rough, last) == ["-", 0, "-", "-", "-"]


def test_the_first_picture_of_the_next_run_is_selected(desk: Any, finished: tuple[tuple[Path, str], ...]):
    selected(desk, Shown(pictures=finished[:2], finished=True))
    states = [Shown(pictures=finished[2:]), Shown(pictures=finished[2:], finished=True)]
    assert selected(desk, *states) == ["-", 0, "-"]


def test_a_run_that_makes_no_picture_leaves_the_selection(desk: Any, finished: tuple[tuple[Path, str], ...]):
    selected(desk, Shown(pictures=finished, finished=True))
    assert selected(desk, Shown(finished=True)) == ["-", "-"]


def test_a_page_that_was_loaded_selects_the_first_picture(desk: Any, finished: tuple[tuple[Path, str], ...]):
    selected(desk, Shown(pictures=finished, finished=True))
    assert selected(desk, Shown(finished=True), loaded=True) == [0, "-"]


def test_a_page_without_a_session_shares_no_run(desk: Any):
    (only,) = desk._make("", *SETTINGS.values(), *OFF)
    assert "press Generate again" in only[WORDS]
    assert len(only) == CANCEL + 1
    assert desk.runs.of("") is None


def test_a_reloaded_page_shows_the_finished_pictures(desk: Any):
    *_, last = generate(desk, pictures=2)
    (again,) = desk._watch("a tab")
    assert captions(again[GALLERY]) == captions(last[GALLERY]) == ["seed 3", "seed 4"]


def test_pictures_move_to_the_earlier_ones_after_the_next_run(desk: Any, monkeypatch: pytest.MonkeyPatch):
    *_, first = generate(desk)
    assert not first[EARLIER]["visible"]

    def decode(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(DiffusersHost, "decode", decode)
        *_, failed = generate(desk)
    assert "lower the width" in failed[WORDS]
    assert captions(failed[GALLERY]) == ["seed 3"]
    *_, second = generate(desk, seed=8)
    assert captions(second[GALLERY]) == ["seed 8"]
    assert captions(second[EARLIER]) == ["seed 3"]


def test_a_picture_that_cannot_be_shown_is_named_and_the_next_one_can_be_made(
    desk: Any, maker: PageGenerator, monkeypatch: pytest.MonkeyPatch
):
    def full(_: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copy", full)
    *_, last = generate(desk)
    assert "the disk is full" in last[WORDS]
    assert str(maker.out) in last[WORDS]
    assert last[GO]["interactive"]
    assert not last[CANCEL]["interactive"]


def test_a_reload_does_not_restore_the_mark_of_a_running_detection(desk: Any):
    desk._keep([0, 1], 2, "a tab", "a park", "uploads")
    desk._keep([0, 1], 2, "a tab", "a lake", DETECTING)
    assert desk._of("a tab").values == ["a lake", "uploads"]


def test_a_number_that_is_given_again_shows_its_new_picture(desk: Any, maker: PageGenerator):
    *_, first = generate(desk, seed=5)
    ((before, _),) = first[GALLERY]["value"]
    pixels = Path(before).read_bytes()
    for path in maker.out.glob("*.png"):
        path.unlink()
    *_, second = generate(desk, seed=5, prompt="another park, at night")
    ((after, _),) = second[GALLERY]["value"]
    assert Path(after).read_bytes() != pixels
    assert Path(before).read_bytes() == pixels
    assert captions(second[EARLIER]) == ["seed 5"]
