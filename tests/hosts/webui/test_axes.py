"""Cells of the host's X/Y/Z plot: the value of an axis is in the picture and in its infotext."""

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_uniid.api.request import parse
from lib_uniid.hosts.webui import axes
from tests.hosts.webui.asking import LEFT, ask, person
from tests.hosts.webui.standin.processing import Processing, parse_infotext, process_images
from tests.hosts.webui.standin.webui import WebUI

BOTH = ask(person("Anna"), person("Ben", mix=[{"name": "Anna", "share": 0.5}]))


def plot(webui: WebUI) -> dict[str, Any]:
    """The plot's options by label."""
    return {option.label: option for option in webui.xyz.axis_options}


def cell(webui: WebUI, base: Processing, *values: tuple[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """As the plot makes one: on a shallow copy, with the axes applied before anything else."""
    p = copy.copy(base)
    p.latents = []
    for label, value in values:
        option = plot(webui)[label]
        option.apply(p, option.type(value), [value])
    made = process_images(p)
    return p.latents[0], json.loads(parse_infotext(made.infotexts[0]).get("UniID", "{}"))


def test_cells_differ_by_their_axes_and_the_next_picture_has_no_axis(start: Any):
    webui = start("a1111")
    base = webui.processing({"alwayson_scripts": BOTH})
    plain, asked = cell(webui, base)
    weak, written = cell(
        webui, base, ("[UniID] Weight, all people", "0.1"), ("[UniID] Identity scale", "0.3")
    )
    assert [one["weight"] for one in written["people"]] == [0.1, 0.1]
    assert written["identity_scale"] == 0.3
    assert not torch.equal(weak, plain)
    none, empty = cell(webui, base, ("[UniID] Method", "none"))
    assert empty == {}
    assert torch.equal(none, cell(webui, webui.processing({}))[0])
    again, written = cell(webui, base)
    assert torch.equal(again, plain)
    assert written == asked


def test_a_new_person_in_a_tab_has_nothing_of_the_previous_person():
    p = SimpleNamespace(uniid_axes={axes.Change("name", 1): "Ben"})
    one = {"id": "0", "fingerprint": "1", "weight": 0.5}
    changed = axes.apply_axes(parse({"version": 1, "people": [one]}), p)
    assert changed == parse({"version": 1, "people": [{"name": "Ben", "weight": 0.5}]})


@pytest.mark.parametrize(("value", "region"), [("left half", "left half"), ("anywhere", None)])
def test_a_region_replaces_a_drawn_mask(value: str, region: str | None):
    p = SimpleNamespace(uniid_axes={axes.Change("region", 1): value})
    changed = axes.apply_axes(parse({"version": 1, "people": [{"name": "Anna", "mask": LEFT}]}), p)
    assert changed == parse({"version": 1, "people": [{"name": "Anna", "region": region}]})


@pytest.mark.parametrize(
    ("change", "value", "said"),
    [
        (axes.Change("region", 1), "outside", 'region must be one of .*, got "outside"'),
        (axes.Change("weight", 2), 1.0, "changes person 2, and the request has 1"),
        (axes.Change("share", 1), 1.0, "who has no mix"),
        (axes.Change("weight", 1), 9.0, r"people\[0\].weight must be a number from 0 to 2, got 9.0"),
        (axes.Change("method"), "PuLID", "must be one of UniID, UniPortrait, none, got 'PuLID'"),
    ],
)
def test_an_impossible_axis_value_is_reported(change: axes.Change, value: Any, said: str):
    with pytest.raises(axes.ConfigError, match=said):
        axes.apply_axes(
            parse({"version": 1, "people": [{"name": "Anna"}]}), SimpleNamespace(uniid_axes={change: value})
        )


def test_an_axis_without_the_panel_on_fails_with_the_remedy(start: Any):
    webui = start("forge")
    base = webui.processing({})
    with pytest.raises(Exception, match="UniID is off; turn Enable UniID on"):
        cell(webui, base, ("[UniID] Identity scale", "0.3"))


def test_each_axis_is_listed_once_however_often_the_page_is_reloaded(start: Any):
    webui = start("a1111")
    first = [*plot(webui)]
    webui.reload()
    plot(webui)
    labels = [option.label for option in webui.xyz.axis_options]
    assert labels == first
    assert len(set(labels)) == len(labels)
    who = plot(webui)["[UniID] Who is person 1"]
    assert who.choices() == ["Anna", "Ben"]
