"""The panel's values as one form.

The form becomes the same versioned dict that the API takes, and :mod:`lib_uniid.api.request` checks it.
Imported when the WebUI starts, so it imports nothing heavy.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lib_uniid import json_text
from lib_uniid.api.regions import ANYWHERE
from lib_uniid.errors import ConfigError
from lib_uniid.fields.person import METHOD_NUMBERS, PERSON, PersonNumbers
from lib_uniid.fields.request import REQUEST, STYLE
from lib_uniid.fields.rows import Row
from lib_uniid.fields.shared import SHARED_METHOD_NUMBERS, SharedNumbers

TABS = 4
"""People in the panel; a request in JSON may have more."""

ANY_METHOD = "automatic"
"""The method for the loaded base model."""

STYLE_STRENGTH = round(STYLE["strength"].default, 2)
"""The default of the style strength's slider."""

DRAWN = "as drawn or uploaded"
"""The region for a mask, beside anywhere and the named regions."""

DETECTING = "detecting"
"""The value in place of a list of uploads while faces are detected in the pictures."""


SHARED_SWITCHED = tuple(row for row in SHARED_METHOD_NUMBERS if "panel" in row.shown)
"""The numbers for all people that a method decides and the panel shows."""


def switch_of(row: Row) -> str:
    """The name of the switch that takes the method's default for a number of a person."""
    return f"{row.option or row.name}_automatic"


if TYPE_CHECKING:
    from lib_uniid.fields.person import PersonNumbers as _PersonNumbers
    from lib_uniid.fields.shared import SharedNumbers as _SharedNumbers
else:  # a control may hold anything: hosts pass on any value that an API client sent

    def _unchecked(kind: type, switches: Sequence[Row] = ()) -> type:
        unused = {row.name: row.low for row in switches}
        named = [(one.name, Any, unused.get(one.name, one.default)) for one in fields(kind)]
        named += [(switch_of(row), Any, True) for row in switches]
        return make_dataclass(f"_{kind.__name__}", named, frozen=True, slots=True, kw_only=True)

    _PersonNumbers = _unchecked(PersonNumbers, METHOD_NUMBERS)
    _SharedNumbers = _unchecked(SharedNumbers, SHARED_SWITCHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonForm(_PersonNumbers):
    """One tab: the numbers of a person, a switch for each that a method decides, and the fields below.

    A number is not used while its switch (:func:`switch_of`) is on: the method's default is taken.
    ``who`` is a name, or a pasted id that no enrolled person has. ``uploads`` is a list of :class:`Upload` as
    JSON. ``pasted`` keeps an infotext's data on ``who`` and has no visible control. ``where`` is ANYWHERE, a
    region or DRAWN; ``mask`` is a picture or None, and is used with DRAWN only. Types are checked when the
    request is read.
    """

    enabled: Any = PERSON["enabled"].default
    who: Any = ""
    uploads: Any = ""
    mix_with: Any = ""
    mix_share: Any = 0.0
    where: Any = ANYWHERE
    mask: Any = None
    pasted: Any = ""
    prompt: Any = PERSON["prompt"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class Form(_SharedNumbers):
    """The panel: the numbers that apply to all people, their switches, and the fields below.

    ``request`` is JSON that overrides the controls, or a dict through the API.
    ``style`` is a picture or None, and is used if ``style_enabled``; ``style_pasted`` is the digest of an
    infotext in its place.
    """

    request: Any = ""
    enabled: Any = False
    routing: Any = REQUEST["routing"].default
    show_routing: Any = REQUEST["show_routing"].default
    check: Any = REQUEST["check"].default
    plain: Any = False
    style_enabled: Any = False
    style: Any = None
    style_strength: Any = STYLE_STRENGTH
    style_pasted: Any = ""
    method: Any = ANY_METHOD
    branches: Any = REQUEST["branches"].default
    rescaling: Any = REQUEST["rescaling"].default
    order: Any = REQUEST["order"].default
    people: tuple[PersonForm, ...] = field(default=(PersonForm(),) * TABS)

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Form":
        """From a script's arguments in the order of :meth:`values`; missing ones have their defaults."""
        given = [*values, *cls().values()[len(values) :]]
        own, width = len(names_of(cls)), len(names_of(PersonForm))
        rest = given[own:]
        tabs = [rest[tab * width : (tab + 1) * width] for tab in range(TABS)]
        return cls(
            **dict(zip(names_of(cls), given, strict=False)),
            people=tuple(PersonForm(**dict(zip(names_of(PersonForm), tab, strict=True))) for tab in tabs),
        )

    def values(self) -> list[Any]:
        """Every control's value, in the order of the script's arguments."""
        own = [getattr(self, name) for name in names_of(Form)]
        return own + [getattr(person, name) for person in self.people for name in names_of(PersonForm)]


_SHARED = (
    "request",
    "enabled",
    "identity_scale",
    "routing",
    "show_routing",
    "check",
    "plain",
    "style_enabled",
    "style",
    "style_strength",
    "style_pasted",
)
_PERSON = (
    "enabled",
    "who",
    "uploads",
    "weight",
    "structure_automatic",
    "structure_scale",
    "mix_with",
    "mix_share",
    "where",
    "mask",
    "start",
    "end",
    "pasted",
)
"""The first arguments for all people and of a tab, in the order of the hosts' APIs; others follow."""


def names_of(kind: type) -> list[str]:
    """The fields of a form in the order of the script's arguments, without the people."""
    names = [one.name for one in fields(kind) if one.name != "people"]
    first = {Form: _SHARED, PersonForm: _PERSON}.get(kind, ())
    return [*first, *(name for name in names if name not in first)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An uploaded reference: ``key`` identifies the picture, ``face`` is the chosen face, from 1."""

    key: str
    name: str
    faces: int
    face: int | None


def uploads_of(text: str) -> list[Upload]:
    """The uploads in the panel's text; ``ConfigError`` for any other text."""
    if text == DETECTING:
        raise ConfigError("face detection in the uploaded pictures is not finished; try again in a moment")
    try:
        return [Upload(**one) for one in json_text.parsed(text)] if text else []
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the list of uploads must be as the panel writes it, got {text[:60]!r}; "
            "through the API, give references in the request"
        ) from error


def text_of(uploads: Sequence[Upload]) -> str:
    """The text that ``uploads_of`` reads."""
    names = names_of(Upload)
    return json.dumps([{name: getattr(one, name) for name in names} for one in uploads]) if uploads else ""


@runtime_checkable
class Pictures(Protocol):
    """The store of uploaded pictures."""

    def picture(self, key: str) -> bytes:
        """The file's bytes; ``ConfigError`` if it is no longer kept."""
        ...
