"""The table of fields and what is made from it are one: defaults, ranges, axes, options."""

from argparse import Namespace
from dataclasses import MISSING, fields
from types import SimpleNamespace
from typing import Any

import pytest

from lib_uniid.api.request import TABLES, parse
from lib_uniid.commands.options import parser
from lib_uniid.commands.settings import asked
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.errors import ConfigError
from lib_uniid.fields import GENERATION, PERSON, REQUIRED, Row, numbers
from lib_uniid.hosts.webui import axes

PERSON_NUMBERS = [pytest.param(row, id=row.name) for row in numbers(PERSON)]


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
def test_a_number_of_a_person_is_checked_by_its_row_at_every_door(row: Row):
    def request(value: float) -> Any:
        return parse({"version": 1, "people": [{"name": "Anna", row.name: value}]}).people[0]

    def settings(value: float) -> Any:
        return PersonSettings(name="Anna", **{row.name: value})

    def axis(value: float) -> Any:
        changed = axes.laid_over(
            parse({"version": 1, "people": [{"name": "Anna"}]}),
            SimpleNamespace(uniid_axes={axes.Change(row.name, 1): value}),
        )
        assert changed is not None
        return changed.people[0]

    def option(value: float) -> Any:
        line = ["generate", "a cat", "--person", "Anna", f"--{row.flag}", str(value)]
        return asked(parser().parse_args(line, Namespace())).settings.people[0]

    for door in (request, settings, axis, option):
        assert getattr(door(inside(row)), row.name) == pytest.approx(inside(row))
        with pytest.raises(ConfigError, match=rf"({row.name}|{row.said}) must"):
            door(row.high + 1.0)


@pytest.mark.parametrize("row", PERSON_NUMBERS)
def test_a_number_of_a_person_is_an_axis_for_all_people_and_for_each(row: Row):
    labels = {axis.label for axis in axes.axes(list)}
    whom = ["all people", *(f"person {number}" for number in range(1, axes.PEOPLE + 1))]
    assert {f"[UniID] {row.label}, {one}" for one in whom} <= labels


def test_axes_stand_where_they_stood():
    """Clients of the host's API choose an axis by its number."""
    labels = [axis.label for axis in axes.axes(list)]
    assert labels[:4] == [
        "[UniID] Method",
        "[UniID] Identity scale",
        "[UniID] Style strength",
        "[UniID] Routing",
    ]
    assert labels[12:18] == [
        "[UniID] Weight, all people",
        "[UniID] Structure scale, all people",
        "[UniID] Share of the other in the mix, all people",
        "[UniID] Start, all people",
        "[UniID] End, all people",
        "[UniID] Weight, person 1",
    ]
