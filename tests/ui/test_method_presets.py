"""Presets of methods in the panel."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lib_uniid.methods.registry import methods, preset_titles
from lib_uniid.ui.form import SHARED_SWITCHED, Form, names_of
from lib_uniid.ui.panel import Builder
from tests.ui.test_method_control import controller_of

(FEW,) = preset_titles()


@pytest.fixture
def use(tmp_path: Path) -> Any:
    """Uses a preset for a method; returns the note, and the values that are set by the names of arguments."""
    builder = Builder(controller_of(tmp_path), lambda name: name)
    with gr.Blocks():
        builder.people()
        builder.settings()
        panel = builder.connect()
    name_of = dict(enumerate(names_of(Form)))

    def use(preset: str, method: str) -> tuple[str, dict[str, Any]]:
        note, *updates = builder.presets._use(preset, method)  # pyright: ignore[reportPrivateUsage]
        assert len(updates) == len(panel.arguments)
        return note, {name_of[n]: one["value"] for n, one in enumerate(updates) if "value" in one}

    return use


def test_it_sets_its_numbers_and_keeps_people_and_all_other_settings(use: Any):
    note, values = use(FEW, "UniID")
    expected = methods()["UniID"].value.preset(FEW).numbers
    assert values == {**expected, "merge_start_automatic": False}
    assert f"preset {FEW} is set" in note


def test_a_method_without_it_says_so_and_nothing_is_set(use: Any):
    note, values = use(FEW, "UniPortrait")
    assert "the method UniPortrait has no preset" in note
    assert not values


def test_the_panel_shows_every_number_of_every_preset():
    shown = {row.name for row in SHARED_SWITCHED}
    for one in methods().values():
        for preset in one.value.presets:
            assert preset.numbers.keys() <= shown
            for name, value in preset.numbers.items():
                number = one.value.number(name)
                assert number is not None
                assert number.low <= value <= number.high
