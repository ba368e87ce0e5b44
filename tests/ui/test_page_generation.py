"""Generations of the page, without a browser: messages of failures, and what is kept."""

import base64
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lib_uniid.api import v1
from lib_uniid.bases import SD21
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.config import GenerationSettings
from lib_uniid.errors import CheckpointMismatchError, EncoderMismatchError
from lib_uniid.hosts.diffusers import saving
from lib_uniid.hosts.diffusers.host import DiffusersHost
from lib_uniid.library.store import Identity
from lib_uniid.pipeline import GeneratedPicture, Studio
from lib_uniid.runtime import Runtime
from lib_uniid.ui.finished import Finished
from lib_uniid.ui.form import Form, PersonForm
from lib_uniid.ui.page_generation import PageGenerator, PageSettings, Shown
from lib_uniid.ui.runs import Cancelled, Run
from lib_uniid.ui.uploads import Uploads
from tests.encoders import flat
from tests.encoders.flat import FlatPlugin
from tests.methods.toy import ToyPlugin
from tests.red_faces import red_face_picture
from tests.standalone import needs_standalone_host

pytestmark = pytest.mark.usefixtures("opened_once")

SETTINGS: dict[str, Any] = {
    "prompt": "a park",
    "negative_prompt": "",
    "width": 0,
    "height": 0,
    "steps": 6,
    "cfg_scale": 7.5,
    "seed": 3,
    "pictures": 1,
    "sampler": "ddim",
    "preview": True,
}
OFF = Form().values()


@pytest.fixture(scope="module")
def maker(webui_models: Path, tmp_path_factory: pytest.TempPathFactory) -> PageGenerator:
    return PageGenerator(Runtime(webui_models), tmp_path_factory.mktemp("out"), Uploads())


class Listening(Run[Shown]):
    """A run that keeps all reported states."""

    reported: list[Shown]

    def report(self, state: Shown) -> None:
        self.reported.append(state)
        super().report(state)


def shown(
    maker: PageGenerator,
    panel: Sequence[Any] = OFF,
    listener: list[Shown] | None = None,
    **page_settings: Any,
) -> list[Shown]:
    """What a run shows, the last of it at the end; every reported state goes to the listener."""
    run = Listening(Shown())
    run.reported = [] if listener is None else listener
    return [run.latest, *run.reported, maker.make(run, PageSettings(**{**SETTINGS, **page_settings}), panel)]


def all_states(maker: PageGenerator, panel: Sequence[Any], **page_settings: Any) -> list[Shown]:
    """Every state that a run shows, reported or not."""
    states: list[Shown] = []

    class Kept(Run[Shown]):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "latest":
                states.append(value)

    last = maker.make(Kept(Shown()), PageSettings(**{**SETTINGS, **page_settings}), panel)
    return [*states, last]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def fail(error: BaseException) -> None:
        def generate(*_: Any, **__: Any) -> Iterator[Any]:
            raise error

        monkeypatch.setattr(Studio, "generate", generate)

    return fail


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Has the second picture that is decoded fail."""

    def fail(error: BaseException) -> None:
        decode, calls = DiffusersHost.decode, iter(range(100))

        def second(host: DiffusersHost, latents: torch.Tensor) -> Any:
            if next(calls) == 1:
                raise error
            return decode(host, latents)

        monkeypatch.setattr(DiffusersHost, "decode", second)

    return fail


def cancelled_at(maker: PageGenerator, step: int, panel: Sequence[Any] = OFF, **page_settings: Any) -> Shown:
    """What is shown in the end of a run that is cancelled at a step."""

    class Impatient(Run[Shown]):
        def report(self, state: Shown) -> None:
            if state.step >= step:
                self.cancel()
            super().report(state)

    asked: dict[str, Any] = {**SETTINGS, "preview": False, **page_settings}
    return maker.make(Impatient(Shown()), PageSettings(**asked), panel)


def panel_of(who: str, where: str = "anywhere", **more: Any) -> list[Any]:
    person = PersonForm(who=who, where=where)
    return Form(enabled=True, people=(person, *Form().people[1:]), **more).values()


@needs_standalone_host
class TestMade:
    def test_a_picture_is_made_with_previews_on_the_way(self, maker: PageGenerator):
        reported: list[Shown] = []
        last = shown(maker, listener=reported)[-1]
        assert last.finished
        assert last.seed == 3
        assert [caption for _, caption in last.pictures] == ["seed 3"]
        previews = [one for one in reported if one.rough]
        assert previews
        assert previews[0].step == 5
        assert not any(one.rough for one in reported if one.step < 5)

    def test_a_preview_ends_with_its_picture(self, maker: PageGenerator):
        states = all_states(maker, OFF, steps=6, pictures=2)
        first = [one for one in states if not one.pictures]
        second = states[len(first) : -1]
        assert first[-1].rough
        assert [one.step for one in second] == [6, 7, 8, 9, 10, 11, 12, 12]
        assert [bool(one.rough) for one in second] == [False] * 4 + [True] * 3 + [False]

    def test_a_picture_keeps_its_place_while_more_come(self, maker: PageGenerator):
        people = (PersonForm(who="Anna"), PersonForm(who="Ben"), *Form().people[2:])
        panel = Form(enabled=True, people=people, show_routing=True).values()
        states = all_states(maker, panel, steps=1, pictures=2, preview=False)
        assert [caption for _, caption in states[-1].pictures] == [
            "seed 3",
            "routing map, seed 3",
            "seed 4",
            "routing map, seed 4",
        ]
        for before, after in pairwise(states):
            assert after.pictures[: len(before.pictures)] == before.pictures

    def test_previews_can_be_switched_off(self, maker: PageGenerator):
        reported: list[Shown] = []
        assert shown(maker, listener=reported, preview=False)[-1].pictures
        assert not any(one.rough for one in reported)

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            (
                torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
                "lower the width and height",
            ),
            (MemoryError(), "lower the width and height"),
            (
                ImportError("No module named 'onnxruntime'", name="onnxruntime"),
                "pip install",
            ),
            (OSError(28, "No space left on device", "/pictures"), "the disk is full"),
            (KeyError("odd"), "unexpected failure: KeyError"),
        ],
    )
    def test_a_failure_is_a_sentence_and_the_next_picture_is_made(
        self,
        maker: PageGenerator,
        error: BaseException,
        sentence: str,
        failing: Callable[[BaseException], None],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        failing(error)
        last = shown(maker)[-1]
        assert last.wrong
        assert last.finished
        assert sentence in last.words[0]
        monkeypatch.undo()
        assert shown(maker)[-1].pictures

    def test_pictures_that_are_finished_when_it_is_cancelled_are_kept_and_named(self, maker: PageGenerator):
        last = cancelled_at(maker, 5, steps=2, pictures=3)
        assert [path.is_file() for path, _ in last.pictures] == [True, True]
        assert [caption for _, caption in last.pictures] == ["seed 3", "seed 4"]
        assert not last.wrong
        assert last.words[0].startswith("cancelled; 2 of 3 pictures are finished and kept: ")
        assert all(path.name in last.words[0] for path, _ in last.pictures)

    def test_a_run_that_is_cancelled_before_a_picture_is_finished_keeps_nothing(self, maker: PageGenerator):
        with pytest.raises(Cancelled):
            cancelled_at(maker, 1, steps=2, pictures=3)

    def test_pictures_are_handed_over_as_they_are_finished(self, maker: PageGenerator):
        reported: list[Shown] = []
        shown(maker, listener=reported, steps=2, pictures=3)
        counts = [len(one.pictures) for one in reported]
        assert {0, 1, 2} <= set(counts)
        assert counts == sorted(counts)

    def test_pictures_that_are_finished_when_another_fails_are_kept_and_named(
        self, maker: PageGenerator, decoding: Callable[[BaseException], None]
    ):
        decoding(MemoryError())
        last = shown(maker, steps=1, pictures=3)[-1]
        assert last.wrong
        assert "lower the width and height" in last.words[0]
        assert last.words[-1].startswith("1 of 3 pictures are finished and kept: ")
        assert [path.is_file() for path, _ in last.pictures] == [True]

    def test_a_disk_that_fills_up_meanwhile_loses_no_picture(
        self, webui_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        maker = PageGenerator(Runtime(webui_models), tmp_path / "out", Uploads())
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        write = saving.write_png

        def full(path: Path, *more: Any) -> None:
            if path.parent == tmp_path / "out":
                raise OSError(28, "No space left on device", str(path))
            write(path, *more)

        monkeypatch.setattr(saving, "write_png", full)
        last = shown(maker, steps=1, pictures=2)[-1]
        assert [path.is_file() for path, _ in last.pictures] == [True, True]
        assert not last.wrong
        assert "the disk is full" in last.words[0]
        assert str(last.pictures[0][0].parent) in last.words[0]

    @pytest.mark.parametrize("error", [MemoryError(), ValueError("odd"), CheckpointMismatchError("odd")])
    def test_on_error_the_rest_is_made_without_identities_where_that_is_wanted(
        self,
        maker: PageGenerator,
        error: BaseException,
        decoding: Callable[[BaseException], None],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        decoding(error)
        last = shown(maker, panel_of("Anna", plain=True, routing="off"), steps=1, pictures=3)[-1]
        assert not last.wrong
        assert [caption for _, caption in last.pictures] == ["seed 3", "seed 4", "seed 5"]
        assert last.words[0].startswith("Identities not applied from picture 2 on: ")
        written = [Image.open(path).info["parameters"] for path, _ in last.pictures]
        assert ["UniID: " in one for one in written] == [True, False, False]

    def test_on_error_nothing_is_made_without_identities_where_that_is_not_wanted(
        self, maker: PageGenerator, decoding: Callable[[BaseException], None]
    ):
        decoding(MemoryError())
        assert shown(maker, panel_of("Anna"), steps=1, pictures=2)[-1].wrong

    def test_a_plain_picture_that_fails_too_is_an_error(
        self, maker: PageGenerator, failing: Callable[[BaseException], None]
    ):
        failing(MemoryError())
        last = shown(maker, panel_of("Anna", plain=True))[-1]
        assert last.wrong
        assert "lower the width and height" in last.words[0]
        assert not last.pictures

    def test_a_full_disk_is_an_error_and_no_reason_to_leave_identities_out(
        self, maker: PageGenerator, decoding: Callable[[BaseException], None]
    ):
        decoding(OSError(28, "No space left on device"))
        last = shown(maker, panel_of("Anna", plain=True, routing="off"), steps=1, pictures=3)[-1]
        assert last.wrong
        assert "No space left on device" in last.words[0]
        assert len(last.pictures) == 1

    def test_a_failed_check_keeps_the_picture_and_adds_a_note(
        self, maker: PageGenerator, monkeypatch: pytest.MonkeyPatch
    ):
        def broken(*_: object) -> None:
            raise EncoderMismatchError("the detector gives values that are NaN")

        monkeypatch.setattr(Studio, "check", broken)
        last = shown(maker, panel_of("Anna", plain=True), steps=1)[-1]
        assert not last.wrong
        assert "UniID: " in Image.open(last.pictures[0][0]).info["parameters"]
        assert [one.sentence for one in last.checked] == [
            "Anna not checked: the detector gives values that are NaN"
        ]

    def test_pictures_that_are_finished_together_survive_a_cancel(self, maker: PageGenerator, tmp_path: Path):
        studio = maker.studio()
        settings = GenerationSettings(prompt="a park", pictures=2, steps=1)
        made = list[tuple[int, GeneratedPicture]]()
        studio.generate(settings, {}, on_picture=lambda number, one, _: made.append((number, one)))
        run = Run(Shown())
        finished = Finished(run, tmp_path)
        take = finished.on_picture(settings, None, None)
        run.cancel()
        for number, one in made:
            take(number, one, True)
        assert len(run.latest.pictures) == 2

    def test_what_is_cancelled_is_not_made_without_identities(self, maker: PageGenerator):
        with pytest.raises(Cancelled):
            cancelled_at(maker, 1, panel_of("Anna", plain=True), steps=3)

    def test_a_person_who_is_not_there_is_left_out_whatever_the_routing(self, maker: PageGenerator):
        last = shown(maker, panel_of("Zoe", where="left half", plain=True, routing="mask"), steps=1)[-1]
        assert not last.wrong
        assert last.words[0].startswith("Identities not applied: ")

    def test_a_wrong_input_keeps_the_networks(self, maker: PageGenerator):
        assert shown(maker)[-1].pictures
        studio = maker.studio()
        panel = Form(enabled=True, people=(PersonForm(who="Zoe"), *Form().people[1:])).values()
        assert "Zoe" in shown(maker, panel)[-1].words[0]
        assert shown(maker, width=7)[-1].wrong
        assert maker.studio() is studio

    def test_an_unwritable_folder_is_reported_before_the_sampling(self, webui_models: Path, tmp_path: Path):
        (tmp_path / "out").write_text("a file")
        maker = PageGenerator(Runtime(webui_models), tmp_path / "out", Uploads())
        reported = shown(maker)
        assert reported[-1].wrong
        assert "out" in reported[-1].words[0]
        assert not any(one.steps for one in reported)


@pytest.mark.parametrize(
    ("page_settings", "sentence"),
    [
        ({"width": 7}, "width must"),
        ({"height": 99999}, "height must"),
        ({"steps": 151}, "steps must lie in"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"steps": None}, "steps must be a number, got None"),
        ({"cfg_scale": 0.5}, "CFG scale must lie in"),
        ({"pictures": 17}, "pictures must lie in"),
        ({"seed": -5}, "seed must lie in"),
        ({"prompt": " "}, "the prompt is empty"),
    ],
)
def test_a_number_out_of_range_is_named(maker: PageGenerator, page_settings: dict[str, Any], sentence: str):
    last = shown(maker, **page_settings)[-1]
    assert last.wrong
    assert last.words[0].startswith(sentence)


@needs_standalone_host
def test_uploads_are_encoded_for_the_method_of_the_base_model(
    webui_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_plugins: None
):
    v1.register(FlatPlugin(), name="flat")
    v1.register(ToyPlugin(bases=(SD21,), encoder=flat.NAME), name="toy")
    monkeypatch.setattr(ModelFolder, "base", lambda *_: SD21)
    made_of: list[str] = []

    def generate(
        _: Studio, settings: GenerationSettings, people: Mapping[str, Identity], **__: Any
    ) -> list[Any]:
        made_of.extend(each.fingerprint for one in people.values() for each in one.features.values())
        return []

    monkeypatch.setattr(Studio, "generate", generate)
    Image.fromarray(red_face_picture((64, 64))).save(tmp_path / "a.png")
    picture = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    request = {"version": 1, "people": [{"references": [picture]}]}
    maker = PageGenerator(Runtime(webui_models, cache=tmp_path), tmp_path, Uploads())
    shown(maker, Form(enabled=True, request=json.dumps(request)).values())
    assert made_of == [flat.FINGERPRINT]
