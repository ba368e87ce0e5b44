"""The table of fields and what is made from it are one: defaults, ranges, axes, options."""

from argparse import Namespace
from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from lib_uniid.api.infotext import describe
from lib_uniid.api.request import TABLES, PersonRequest, Request, parse, parse_json
from lib_uniid.commands.options import parser
from lib_uniid.commands.settings import arguments_of
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.errors import ConfigError
from lib_uniid.fields.generation import GENERATION
from lib_uniid.fields.person import PERSON
from lib_uniid.fields.request import REQUEST
from lib_uniid.fields.rows import REQUIRED, Row, numbers
from lib_uniid.hosts.webui import axes
from lib_uniid.ui.form import TABS, Form, PersonForm, names_of
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.page_generation import PageSettings
from lib_uniid.ui.panel import build
from lib_uniid.ui.pasting import form_of
from lib_uniid.ui.uploads import Uploads
from tests.ui.bare_host import controller_of
from tools import field_table

PERSON_NUMBERS = [pytest.param(row, id=row.name) for row in numbers(PERSON)]
SHARED_NUMBERS = [pytest.param(row, id=row.name) for row in numbers(REQUEST, "panel")]
PAGE = PageSettings(
    prompt="a cat",
    negative_prompt="",
    width=0,
    height=0,
    steps=4,
    cfg_scale=5.0,
    seed=0,
    pictures=1,
    sampler="ddim",
    preview=False,
)


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_a_part_of_a_request_has_the_fields_and_defaults_of_its_table(kind: type):
    defaults = {one.name: REQUIRED if one.default is MISSING else one.default for one in fields(kind)}
    assert defaults == {row.name: row.default for row in TABLES[kind].values()}


@pytest.mark.parametrize("row", GENERATION.values(), ids=lambda row: row.name)
def test_a_setting_has_the_default_of_its_row(row: Row):
    assert getattr(GenerationSettings(prompt="a cat"), row.name) == row.default


def inside(row: Row) -> float:
    """A value that is allowed and is not the default, of which a person's start stays before the end."""
    return row.low + 0.25 * (row.high - row.low)


@pytest.mark.parametrize("row", PERSON_NUMBERS)
def test_a_number_of_a_person_is_checked_by_its_row_in_request_settings_axis_and_option(row: Row):
    def request(value: float) -> Any:
        return parse({"version": 1, "people": [{"name": "Anna", row.name: value}]}).people[0]

    def settings(value: float) -> Any:
        given: dict[str, Any] = {row.name: value}
        return PersonSettings(name="Anna", **given)

    def axis(value: float) -> Any:
        changed = axes.apply_axes(
            parse({"version": 1, "people": [{"name": "Anna"}]}),
            SimpleNamespace(uniid_axes={axes.Change(row.name, 1): value}),
        )
        assert changed is not None
        return changed.people[0]

    def option(value: float) -> Any:
        line = ["generate", "a cat", "--person", "Anna", f"--{row.flag}", str(value)]
        return arguments_of(parser().parse_args(line, Namespace())).settings.people[0]

    for reader in (request, settings, axis, option):
        assert getattr(reader(inside(row)), row.name) == pytest.approx(inside(row))
        with pytest.raises(ConfigError, match=rf"({row.name}|{row.label_in_text}) must"):
            reader(row.high + 1.0)


@pytest.mark.parametrize("row", PERSON_NUMBERS)
def test_a_number_of_a_person_has_a_slider_in_every_tab(row: Row, tmp_path: Path):
    with gr.Blocks() as page:
        build(controller_of(tmp_path), lambda name: name)
    parts = {part.elem_id: part for part in page.blocks.values() if isinstance(part, gr.Slider)}
    for tab in range(1, TABS + 1):
        part = parts[f"person_{tab}_{row.name}"]
        assert (part.minimum, part.maximum, part.step) == (row.low, row.high, row.step)
        assert (part.label, part.info) == (row.label, row.info or None)


@pytest.mark.parametrize("row", PERSON_NUMBERS)
def test_a_number_of_a_person_goes_through_panel_and_infotext_and_comes_back(row: Row):
    given: dict[str, Any] = {row.name: inside(row)}
    asked = Request(version=1, people=(PersonRequest(id="0", **given),))
    pasted = parse_json(describe(asked, {"0": "0123"}))
    form = form_of(pasted, lambda _: "Anna")
    again = request_of(form.values(), Uploads())
    assert again is not None
    assert getattr(again.people[0], row.name) == inside(row)
    assert again == replace(pasted, people=(replace(pasted.people[0], id=None, name="Anna"),))


@pytest.mark.parametrize("row", SHARED_NUMBERS)
def test_a_number_for_all_people_is_checked_by_its_row_in_request_settings_axis_and_option(row: Row):
    def request(value: float) -> Any:
        return parse({"version": 1, "people": [{"name": "Anna"}], row.name: value})

    def settings(value: float) -> Any:
        given: dict[str, Any] = {row.name: value}
        return GenerationSettings(prompt="a cat", **given)

    def axis(value: float) -> Any:
        plotted = SimpleNamespace(uniid_axes={axes.Change(row.name): value})
        return axes.apply_axes(parse({"version": 1, "people": [{"name": "Anna"}]}), plotted)

    def option(value: float) -> Any:
        line = ["generate", "a cat", "--person", "Anna", f"--{row.flag}", str(value)]
        return arguments_of(parser().parse_args(line, Namespace())).settings

    for read in (request, settings, axis, option):
        assert getattr(read(inside(row)), row.name) == pytest.approx(inside(row))
        with pytest.raises(ConfigError, match=rf"({row.name}|{row.label_in_text}) must"):
            read(row.high + 1.0)


@pytest.mark.parametrize("row", SHARED_NUMBERS)
def test_a_number_for_all_people_has_a_slider_and_goes_through_panel_infotext_and_page(
    row: Row, tmp_path: Path
):
    with gr.Blocks() as page:
        build(controller_of(tmp_path), lambda name: name)
    (part,) = [part for part in page.blocks.values() if part.elem_id == row.name]
    assert isinstance(part, gr.Slider)
    assert (part.minimum, part.maximum, part.step, part.label) == (row.low, row.high, row.step, row.label)
    given: dict[str, Any] = {row.name: inside(row)}
    people = (PersonRequest(id="0"),)
    pasted = parse_json(describe(Request(version=1, people=people, **given), {"0": "0123"}))
    again = request_of(form_of(pasted, lambda _: "Anna").values(), Uploads())
    assert again is not None
    assert getattr(again, row.name) == inside(row)
    assert getattr(PAGE.settings(again, None), row.name) == inside(row)
    assert getattr(PAGE.settings(None, None), row.name) == row.default


def test_the_order_of_arguments_is_unchanged():
    """Clients of the hosts' APIs send the panel's values in this order."""
    shared = "request enabled identity_scale routing show_routing check plain"
    style = "style_enabled style style_strength style_pasted"
    assert names_of(Form)[:11] == [*shared.split(), *style.split()]
    assert set(names_of(Form)) == {one.name for one in fields(Form)} - {"people"}
    old = "enabled who uploads weight structure_automatic structure_scale mix_with mix_share where mask start"
    assert names_of(PersonForm)[:13] == [*old.split(), "end", "pasted"]
    assert set(names_of(PersonForm)) == {one.name for one in fields(PersonForm)}


@pytest.mark.parametrize("row", PERSON_NUMBERS)
def test_a_number_of_a_person_is_an_axis_for_all_people_and_for_each(row: Row):
    labels = {axis.label for axis in axes.axes(list)}
    whom = ["all people", *(f"person {number}" for number in range(1, axes.PEOPLE + 1))]
    assert {f"[UniID] {row.label}, {one}" for one in whom} <= labels


def test_the_order_of_axes_is_unchanged():
    labels = [axis.label for axis in axes.axes(list)]
    own = ["Method", "Identity scale", "Style strength", "Routing"]
    numbers = ["Weight", "Structure scale", "Mix share of the other person", "Start", "End"]
    for_all = [f"{number}, all people" for number in numbers]
    old = [f"[UniID] {label}" for label in [*own, *for_all, "Weight, person 1"]]
    assert [label for label in labels if label in old] == old


# --- the documentation ---


def test_the_docs_have_every_table_as_it_is():
    """``python -m tools.field_table`` writes them."""
    pages = [path.read_text(encoding="utf-8") for path in field_table.DOCS.glob("*.md")]
    assert [page for page in pages if field_table.written(page) != page] == []
    named = [name for page in pages for _, name, _ in field_table.PLACE.findall(page)]
    assert sorted(named) == sorted(field_table.TABLES)
