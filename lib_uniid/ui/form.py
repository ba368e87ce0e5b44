"""The panel's values as one form: into a request, and out of a pasted one.

There is one way in. The form becomes the same versioned dict that the API takes, and what is wrong with it
is said by :mod:`lib_uniid.api.request`. Imported at the WebUI's start: nothing heavy is used here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lib_uniid import json_text
from lib_uniid.api.regions import ANYWHERE
from lib_uniid.errors import ConfigError
from lib_uniid.fields import PERSON, REQUEST, STYLE, numbers

TABS = 4
"""People in the panel; a request may hold more, as text."""

AUTOMATIC = 0.3
"""Where the slider of the structure scale stands while the method's own default counts."""

LENT = round(STYLE["strength"].default, 2)
"""Where the slider of the style's strength stands at rest."""

DRAWN = "as drawn or uploaded"
"""Where a person may be, beside anywhere and the regions that have a name."""

LOOKING = "looking"
"""Stands in the place of a list of uploads for as long as faces are looked for in the pictures."""


if TYPE_CHECKING:
    from lib_uniid.fields import PersonNumbers as _PersonNumbers
else:  # a control may hold anything: hosts hand over whatever an API was sent
    _PersonNumbers = make_dataclass(
        "_PersonNumbers",
        [(row.name, Any, row.default) for row in numbers(PERSON)],
        frozen=True,
        slots=True,
        kw_only=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonForm(_PersonNumbers):
    """One tab: the numbers of a person, and what is written here.

    ``who`` is a name, or an id where a pasted one is of no enrolled person. ``uploads`` is a list of
    :class:`Upload` as JSON. ``pasted`` keeps what an infotext says of ``who`` and has no control of its own.
    ``where`` is ANYWHERE, a region or DRAWN, which alone makes ``mask`` count, a picture or None. Nothing
    here is known to be of its kind before the request is read.
    """

    enabled: Any = PERSON["enabled"].default
    who: Any = ""
    uploads: Any = ""
    structure_automatic: Any = True
    structure_scale: Any = AUTOMATIC
    mix_with: Any = ""
    mix_share: Any = 0.0
    where: Any = ANYWHERE
    mask: Any = None
    pasted: Any = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The panel. ``request`` is JSON that counts instead of the controls, or through the API a dict.

    ``style`` is a picture or None, and counts while ``style_enabled``; ``style_pasted`` is what an infotext
    has in its place.
    """

    request: Any = ""
    enabled: Any = False
    identity_scale: Any = REQUEST["identity_scale"].default
    routing: Any = REQUEST["routing"].default
    show_routing: Any = REQUEST["show_routing"].default
    check: Any = REQUEST["check"].default
    plain: Any = False
    style_enabled: Any = False
    style: Any = None
    style_strength: Any = LENT
    style_pasted: Any = ""
    people: tuple[PersonForm, ...] = field(default=(PersonForm(),) * TABS)

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Form":
        """From a script's arguments, in the order of :meth:`values`; those that are missing are at rest."""
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


_FIRST = (
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
"""The arguments of a tab in the order in which clients of the hosts' APIs send them; others follow."""


def names_of(kind: type) -> list[str]:
    """The fields of a form in the order of the script's arguments, without the people."""
    names = [one.name for one in fields(kind) if one.name != "people"]
    if kind is not PersonForm:
        return names
    return [*_FIRST, *(name for name in names if name not in _FIRST)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A reference that was uploaded: ``key`` finds the picture, ``face`` is the one that is meant, from 1."""

    key: str
    name: str
    faces: int
    face: int | None


def uploads_of(text: str) -> list[Upload]:
    """Uploads from the text that the panel keeps of them; ``ConfigError`` for any other text."""
    if text == LOOKING:
        raise ConfigError("faces are still being looked for in the uploaded pictures; try again in a moment")
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
    """Where uploaded pictures are kept."""

    def picture(self, key: str) -> bytes:
        """The file's bytes; ``ConfigError`` when it is no longer there."""
        ...
