"""What a row is, a table of rows, and the numbers in it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

Kind = Literal[
    "number",
    "whole",
    "flag",
    "choice",
    "text",
    "words",
    "name",
    "picture",
    "region",
    "method",
    "record",
    "list",
]
Place = Literal["panel", "axis", "option"]
"""Where a number is shown: as a slider of the panel, an axis of the plot, an option of the command line."""

REQUIRED: Final = object()
"""Marks a field without a default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field.

    A default of None makes None an allowed value; ``unset`` describes its effect. ``low`` and ``high`` limit
    a number, ``high`` the length of a list or of words; ``step`` is the slider's. ``label`` and ``info`` are
    the texts of its control. ``axis`` is the plot's label and ``option`` the command line's name, where these
    differ. ``meaning`` is shown by the command line's help and the docs. A ``folded`` slider is in the
    collapsed part of the panel. ``of_people`` marks a setting of a generation that has no effect without
    people.
    """

    name: str
    kind: Kind
    default: Any = None
    unset: str = ""
    low: float | int = 0.0
    high: float | int = 0.0
    step: float = 0.05
    choices: tuple[str, ...] = ()
    label: str = ""
    info: str = ""
    axis: str = ""
    option: str = ""
    meaning: str = ""
    shown: frozenset[Place] = frozenset(get_args(Place))
    folded: bool = False
    of_people: bool = False

    @property
    def range(self) -> str:
        """The allowed range of a number, as text."""
        return f"{self.low:g} to {self.high:g}" if self.low < self.high else f"{self.low:g}"

    @property
    def flag(self) -> str:
        """The command line's name, without leading dashes."""
        return (self.option or self.name).replace("_", "-")

    @property
    def label_in_text(self) -> str:
        """The label inside a sentence."""
        return self.label if self.label[1:2].isupper() else self.label[:1].lower() + self.label[1:]

    @property
    def default_text(self) -> str:
        """The default, as text."""
        if self.default is REQUIRED:
            return "required"
        default = f"{self.default:.2g}" if isinstance(self.default, float) else str(self.default)
        return self.unset or (default.lower() if self.kind == "flag" else default)


Table = Mapping[str, Row]


def table(*rows: Row) -> Table:
    """Rows by name."""
    return {row.name: row for row in rows}


def numbers(table: Table, shown: Place | None = None) -> list[Row]:
    """The rows of a table that hold a number; with ``shown``, only those of that place."""
    return [
        row for row in table.values() if row.kind in ("number", "whole") and (not shown or shown in row.shown)
    ]


def numbers_of(value: object, kind: type[Any]) -> dict[str, Any]:
    """The fields of the dataclass ``kind`` by name, from any object with these attributes."""
    return {one.name: getattr(value, one.name) for one in fields(kind)}
