"""The choice of the method, and what differs with it, in the panel."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from benchmarks import house
from lib_uniid.api import v1
from lib_uniid.bases import SD21
from lib_uniid.fields.shared import METHOD_CHOICES
from lib_uniid.methods.registry import default, methods
from lib_uniid.ui.enrolment import Enrolment
from lib_uniid.ui.form import ANY_METHOD, SHARED_SWITCHED, TABS
from lib_uniid.ui.panel import Builder, Panel, build
from tests.methods.toy import NAME, ToyPlugin
from tests.ui.bare_host import controller_of

AUTOMATIC = [True] * (TABS + len(SHARED_SWITCHED))
"""Of each tab the structure scale, and the numbers for all people."""
NUMBER = v1.MethodNumber(name="structure_scale", low=0.0, high=1.5, alone=0.5, together=0.5)


pytestmark = pytest.mark.usefixtures("own_plugins")


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
    assert update["choices"] == [ANY_METHOD, *methods()]


def test_a_method_for_each_base_model_is_no_choice(tmp_path: Path):
    _, panel = built(tmp_path)
    assert len(methods()) > 1
    v1.register(ToyPlugin(bases=(SD21,)), name="toy")
    assert not refreshed(panel)["method"]["visible"]


def test_a_refresh_that_fails_leaves_the_choice_as_it_is(tmp_path: Path):
    _, panel = built(tmp_path / "absent")
    assert set(refreshed(panel)["method"]) == {"__type__"}


def test_the_label_and_the_range_of_the_structure_scale_are_the_method_s(tmp_path: Path):
    v1.register(ToyPlugin(numbers=(NUMBER,)), name="toy")
    builder, _ = built(tmp_path)
    labels: list[tuple[str, float]] = []
    for method in (ANY_METHOD, NAME):
        switch, scale, *others = builder.by_method.updates(method, *AUTOMATIC)
        assert others[: 2 * TABS - 2] == [switch, scale] * (TABS - 1)
        labels.append((switch["label"], scale["maximum"]))
    assert labels == [
        ("Automatic structure scale (0.1 for one person, 0.3 for several)", 2.0),
        ("Automatic structure scale (0.5)", 1.5),
    ]


def test_a_method_without_a_structure_scale_shows_none(tmp_path: Path):
    v1.register(ToyPlugin(), name="toy")
    builder, _ = built(tmp_path)
    switch, scale, *_ = builder.by_method.updates(NAME, *AUTOMATIC)
    assert not switch["visible"]
    assert not scale["visible"]
    assert not builder.by_method.updates(default(), *AUTOMATIC)[1]["visible"]
    assert builder.by_method.updates(default(), *[False] * len(AUTOMATIC))[1]["visible"]


def of_controls(builder: Builder, method: str) -> dict[str, Any]:
    """What the panel shows for a method, by the control's id."""
    parts = [part.elem_id for part in builder.by_method.controls]
    return dict(zip(parts, builder.by_method.updates(method, *AUTOMATIC), strict=True))


def test_the_identity_scale_has_the_method_s_default(tmp_path: Path):
    v1.register(ToyPlugin(), name="toy")
    builder, _ = built(tmp_path)
    shown = {method: of_controls(builder, method) for method in (ANY_METHOD, NAME)}
    labels = [one["identity_scale_automatic"]["label"] for one in shown.values()]
    assert labels == ["Automatic identity scale (0.7)", "Automatic identity scale (1)"]
    assert [one["identity_scale"]["value"] for one in shown.values()] == [0.7, 1.0]


def test_choices_are_shown_and_used_where_the_method_has_them(tmp_path: Path):
    v1.register(ToyPlugin(choices=("branches",)), name="toy")
    v1.register(ToyPlugin(name="Plain"), name="plain")
    builder, _ = built(tmp_path)
    (section,) = (part for part in builder.by_method.controls if part.elem_id == "method_choices")
    assert not section.open
    for method, read in ((default(), {"rescaling", "order"}), (NAME, {"branches"}), ("Plain", set[str]())):
        shown = of_controls(builder, method)
        assert shown["method_choices"]["visible"] == bool(read)
        for row in METHOD_CHOICES:
            assert shown[row.name]["visible"] == (row.name in read)
            assert shown[row.name].get("value") == (None if row.name in read else row.default)


def test_an_unused_slider_has_the_method_s_default_and_a_used_one_keeps_its_value(tmp_path: Path):
    builder, _ = built(tmp_path)
    scales = builder.by_method.updates(default(), False, *AUTOMATIC[1:])[1 : 2 * TABS : 2]
    assert [one.get("value") for one in scales] == [None, 0.3, 0.3, 0.3]
    assert [one["visible"] for one in scales] == [True, False, False, False]


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


SECOND = """\
    Row(
        name="pose_scale",
        kind="number",
        high=2.0,
        label="Pose scale",
        option="pose",
        meaning="how much of the pose is copied",
        unset="the method's",
    ),
"""
PROBE = """
import json, sys
from pathlib import Path
import gradio as gr
from lib_uniid.api import v1
from lib_uniid.bases import SD21
from lib_uniid.ui.form import Form, PersonForm, names_of
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.pasting import form_of
from lib_uniid.ui.panel import Builder
from lib_uniid.ui.uploads import Uploads
from tests.methods.toy import NAME, ToyPlugin
from tests.ui.bare_host import controller_of

number = v1.MethodNumber(name="pose_scale", low=0.0, high=0.5, alone=0.2, together=0.2)
v1.register(ToyPlugin(numbers=(number,)), name="toy")
builder = Builder(controller_of(Path(sys.argv[1])), lambda name: name)
with gr.Blocks():
    builder.people()
    builder.settings()
    builder.connect()
shown = builder.by_method.updates(NAME, *[True] * len(builder.by_method.switches))

def pose(automatic):
    person = PersonForm(who="Anna", pose_scale=0.4, **{"pose_automatic": automatic})
    form = Form(enabled=True, method=NAME, people=(person, PersonForm(), PersonForm(), PersonForm()))
    request = request_of(form.values(), Uploads())
    form = form_of(request, lambda _: None).people[0]
    return request.people[0].pose_scale, form.pose_automatic, form.pose_scale

print(json.dumps({
    "controls": [one.elem_id for one in builder.by_method.controls[:4]],
    "label": shown[2]["label"], "scale": [shown[3]["maximum"], shown[3]["value"]],
    "structure": shown[0]["visible"], "order": names_of(PersonForm)[13:],
    "automatic": pose(True), "own": pose(False),
}))
"""


def test_a_second_number_that_the_method_decides_has_a_switch_and_a_slider(tmp_path: Path):
    shutil.copytree(house.ROOT / "lib_uniid", tmp_path / "lib_uniid")
    house.change(tmp_path, replace(house.ADDED[0], text=SECOND))
    line = '    pose_scale: float | None = PERSON["pose_scale"].default\n'
    house.change(tmp_path, replace(house.ADDED[1], text=line))
    places = os.pathsep.join([str(tmp_path), str(house.ROOT)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "controls": [
            f"person_1_{name}"
            for name in ("structure_automatic", "structure_scale", "pose_automatic", "pose_scale")
        ],
        "label": "Automatic pose scale (0.2)",
        "scale": [0.5, 0.2],
        "structure": False,
        "order": ["pose_scale", "pose_automatic", "prompt"],
        "automatic": [None, True, 0.0],
        "own": [0.4, False, 0.4],
    }
