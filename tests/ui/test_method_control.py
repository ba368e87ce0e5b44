"""The choice of the method, and what differs with it, in the panel."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lib_uniid.api import v1
from lib_uniid.methods.registry import default
from lib_uniid.plugins import plugins
from lib_uniid.ui.enrolment import Enrolment
from lib_uniid.ui.form import ANY_METHOD
from lib_uniid.ui.panel import Builder, Panel, build
from tests.methods.toy import NAME, ToyPlugin
from tests.ui.bare_host import controller_of

NUMBER = v1.MethodNumber(name="structure_scale", low=0.0, high=1.5, alone=0.5, together=0.5)


@pytest.fixture(autouse=True)
def fresh() -> Generator[None]:
    plugins.cache_clear()
    yield
    plugins.cache_clear()


def built(folder: Path, *, page: bool = False) -> tuple[Builder, Panel]:
    builder = Builder(controller_of(folder), lambda name: name, page=page)
    with gr.Blocks():
        builder.people()
        builder.settings()
        return builder, builder.connect()


def refreshed(panel: Panel) -> dict[str, Any]:
    """The updates of a refresh by their component's id."""
    parts = [part.elem_id for part in panel.refreshed]
    return dict(zip(parts, panel.refresh(), strict=True))


def test_the_method_is_chosen_where_there_are_several(tmp_path: Path):
    _, panel = built(tmp_path)
    (method,) = (part for part in panel.arguments if part.elem_id == "method")
    assert (method.value, method.visible) == (ANY_METHOD, False)
    assert not refreshed(panel)["method"]["visible"]
    v1.register(ToyPlugin(), name="toy")
    update = refreshed(panel)["method"]
    assert update["visible"]
    assert update["choices"] == [ANY_METHOD, default(), NAME]


def test_a_refresh_that_fails_leaves_the_choice_as_it_is(tmp_path: Path):
    _, panel = built(tmp_path / "absent")
    assert set(refreshed(panel)["method"]) == {"__type__"}


def test_the_label_and_the_range_of_the_structure_scale_are_the_method_s(tmp_path: Path):
    v1.register(ToyPlugin(numbers=(NUMBER,)), name="toy")
    builder, _ = built(tmp_path)
    labels: list[tuple[str, float]] = []
    for method in (ANY_METHOD, NAME):
        switch, scale, *others = builder.show_method(method)
        assert others == [switch, scale] * 3
        labels.append((switch["label"], scale["maximum"]))
    assert labels == [
        ("Automatic structure scale (0.1 for one person, 0.3 for several)", 2.0),
        ("Automatic structure scale (0.5)", 1.5),
    ]


def test_a_method_without_a_structure_scale_shows_none(tmp_path: Path):
    v1.register(ToyPlugin(), name="toy")
    builder, _ = built(tmp_path)
    switch, scale, *_ = builder.show_method(NAME)
    assert not switch["visible"]
    assert not scale["visible"]
    assert "visible" not in builder.show_method(default())[1]


def test_a_person_is_saved_for_the_chosen_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved_for: list[str | None] = []

    def enrol(self: Enrolment, *_: Any, **__: Any) -> Generator[Any]:
        saved_for.append(self.method)
        yield from ()

    monkeypatch.setattr(Enrolment, "enrol", enrol)
    v1.register(ToyPlugin(), name="toy")
    with gr.Blocks() as blocks:
        panel = build(controller_of(tmp_path), lambda name: name)
    (control,) = (part for part in panel.arguments if part.elem_id == "method")
    tab = panel.reference_pictures[0]
    (event,) = (one for one in blocks.fns.values() if (tab.save._id, "click") in one.targets)  # pyright: ignore[reportPrivateUsage]
    assert event.inputs[-1] is control
    for method in (NAME, ANY_METHOD):
        list(tab._save(False, "Anna", None, "", False, method))  # pyright: ignore[reportPrivateUsage]
    assert saved_for == [NAME, default()]


def test_the_page_shows_the_method_s_default_at_once(tmp_path: Path):
    builder, _ = built(tmp_path, page=True)
    assert builder.tabs[0]["structure_automatic"].label.endswith("(0.1 for one person, 0.3 for several)")
