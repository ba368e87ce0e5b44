"""Axes for the X/Y/Z plot: every number, the people, the regions, the routing and the method.

The plot first calls each axis with a cell's processing object. The axis stores its value there, and the value
is applied to the request when the cell begins. The result is checked like any other request.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_uniid.api.regions import ANYWHERE, REGIONS
from lib_uniid.api.request import Request, parse, to_dict
from lib_uniid.errors import ConfigError
from lib_uniid.fields.person import MIX, PERSON
from lib_uniid.fields.request import REQUEST, STYLE
from lib_uniid.fields.rows import Row, numbers
from lib_uniid.fields.shared import METHOD_CHOICES
from lib_uniid.methods.registry import methods

PEOPLE = 4
NONE = "none"
ALL_PEOPLE = 0
STRENGTH = "style.strength"
_ATTRIBUTE = "uniid_axes"


@dataclass(frozen=True, slots=True)
class Change:
    """What an axis changes: a field of the request, or of the ``person`` of this number; 0 means all."""

    field: str
    person: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis in the plot's list; ``choices`` returns the values that the user can select."""

    label: str
    kind: type
    change: Change
    choices: Callable[[], list[str]] | None = None

    def apply(self, p: Any, value: Any, _values: Any) -> None:
        """Store the value on a cell's object. The object is a shallow copy, so the dict must be new."""
        setattr(p, _ATTRIBUTE, {**getattr(p, _ATTRIBUTE, {}), self.change: value})


def axes(names: Callable[[], list[str]]) -> list[Axis]:
    """All axes; ``names`` returns the names of all enrolled people."""
    each = [
        Axis(label=f"{_label(row)}, {_whom(person)}", kind=float, change=Change(row.name, person))
        for person in range(PEOPLE + 1)
        for row in _of_a_person()
    ]
    who = [
        Axis(label=f"[UniID] Who is person {person}", kind=str, change=Change("name", person), choices=names)
        for person in range(1, PEOPLE + 1)
    ]
    where = [
        Axis(
            label=f"[UniID] Where person {person} may be",
            kind=str,
            change=Change("region", person),
            choices=lambda: [ANYWHERE, *REGIONS],
        )
        for person in range(1, PEOPLE + 1)
    ]
    return [
        Axis(label="[UniID] Method", kind=str, change=Change("method"), choices=lambda: [*methods(), NONE]),
        *_numbers_for_all(shown=True),
        Axis(label=_label(STYLE["strength"]), kind=float, change=Change(STRENGTH)),
        _choice(REQUEST["routing"]),
        *who,
        *where,
        *each,
        *(_choice(row) for row in METHOD_CHOICES),
        *_numbers_for_all(shown=False),
    ]


def _numbers_for_all(*, shown: bool) -> list[Axis]:
    """Of the numbers for all people, those that the panel shows, or the others."""
    rows = [row for row in numbers(REQUEST, "axis") if ("panel" in row.shown) == shown]
    return [Axis(label=_label(row), kind=float, change=Change(row.name)) for row in rows]


def _choice(row: Row) -> Axis:
    return Axis(label=_label(row), kind=str, change=Change(row.name), choices=lambda: [*row.choices])


def _of_a_person() -> Iterator[Row]:
    """The numbers in the order of the table, with the mix share in place of the mix."""
    shown = numbers(PERSON, "axis")
    for name, row in PERSON.items():
        if name == "mix":
            yield MIX["share"]
        elif row in shown:
            yield row


def _label(row: Row) -> str:
    return f"[UniID] {row.axis or row.label}"


def _whom(person: int) -> str:
    return "all people" if person == ALL_PEOPLE else f"person {person}"


def register(scripts_data: Iterable[Any], names: Callable[[], list[str]]) -> None:
    """Add the axes to the host's X/Y/Z plot, if it has one, and replace those of an earlier load."""
    for data in scripts_data:
        if Path(data.path).name == "xyz_grid.py":
            module = data.module
            ours = {axis.label: axis for axis in axes(names)}
            module.axis_options[:] = [one for one in module.axis_options if one.label not in ours]
            module.axis_options += [
                module.AxisOption(axis.label, axis.kind, axis.apply, choices=axis.choices)
                for axis in ours.values()
            ]


def apply_axes(request: Request | None, p: Any) -> Request | None:
    """The request of a cell with the values of its axes; ``ConfigError`` for a wrong value."""
    changes: Mapping[Change, Any] = getattr(p, _ATTRIBUTE, {})
    if not changes:
        return request
    if request is None:
        raise ConfigError("an axis of the X/Y/Z plot is of UniID, and UniID is off; turn Enable UniID on")
    raw = to_dict(request)
    for change, value in changes.items():
        if change.field == "method":
            if value not in (*methods(), NONE):
                raise ConfigError(f"the method must be one of {', '.join([*methods(), NONE])}, got {value!r}")
            raw["method"] = None if value == NONE else value
            raw["enabled"] = value != NONE
        elif change.field == STRENGTH:
            if "style" not in raw:
                raise ConfigError(
                    "an axis of the X/Y/Z plot changes the style strength, and the request has no style; "
                    "turn Style reference on"
                )
            raw["style"]["strength"] = value
        elif change.person is None:
            raw[change.field] = value
        else:
            for person in _persons(raw["people"], change.person):
                _change(person, change, value)
    changed = parse(raw)
    return changed if changed.enabled else None


def _persons(people: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    if number == ALL_PEOPLE:
        return people
    if number > len(people):
        raise ConfigError(
            f"an axis of the X/Y/Z plot changes person {number}, and the request has {len(people)}; "
            "select a person in that tab"
        )
    return [people[number - 1]]


def _change(person: dict[str, Any], change: Change, value: Any) -> None:
    if change.field == "name":
        for field in ("id", "fingerprint", "references"):  # they belong to the previous person
            person.pop(field, None)
    if change.field == "region":
        person.pop("mask", None)
        person["region"] = None if value == ANYWHERE else value
    elif change.field == "share":
        if not person.get("mix") and change.person != ALL_PEOPLE:
            raise ConfigError(
                f"an axis of the X/Y/Z plot changes the mix of person {change.person}, who has no mix; "
                "select a person in Mix with"
            )
        person["mix"] = [{**part, "share": value} for part in person.get("mix", [])]
    else:
        person[change.field] = value
