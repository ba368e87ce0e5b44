"""The panel's values as one form: into a request, and out of a pasted one.

There is one way in. The form becomes the same versioned dict that the API takes, and what is wrong with it
is said by :mod:`lib_uniid.hosts.webui.request`. Imported at the WebUI's start: nothing heavy is used here.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Protocol, runtime_checkable

from lib_uniid.config import STYLE_STRENGTH
from lib_uniid.errors import ConfigError, PictureError
from lib_uniid.hosts.webui.infotext import DIGEST, Entry
from lib_uniid.hosts.webui.regions import ANYWHERE
from lib_uniid.hosts.webui.request import VERSION, PersonRequest, Request, StyleRequest, parse_json, to_dict
from lib_uniid.hosts.webui.script import asked
from lib_uniid.library.names import is_id

TABS = 4
"""People in the panel; a request may hold more, as text."""

AUTOMATIC = 0.3
"""Where the slider of the structure scale stands while the method's own default counts."""

LENT = round(STYLE_STRENGTH, 2)
"""Where the slider of the style's strength stands at rest."""

DRAWN = "as drawn or uploaded"
"""Where somebody may be, beside anywhere and the regions that have a name."""

LOOKING = "looking"
"""Stands in the place of a list of uploads for as long as faces are looked for in the pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonForm:
    """One tab. ``who`` is a name, or an id where a pasted one is of nobody who is enrolled.

    ``uploads`` is a list of :class:`Upload` as JSON. ``pasted`` keeps what an infotext says of ``who`` and
    has no control of its own. ``where`` is ANYWHERE, a region or DRAWN, which alone makes ``mask`` count, a
    picture or None. Hosts hand over whatever an API was sent, so nothing here is known to be of its kind
    before the request is.
    """

    enabled: Any = True
    who: Any = ""
    uploads: Any = ""
    weight: Any = 1.0
    structure_automatic: Any = True
    structure_scale: Any = AUTOMATIC
    mix_with: Any = ""
    mix_share: Any = 0.0
    where: Any = ANYWHERE
    mask: Any = None
    start: Any = 0.0
    end: Any = 1.0
    pasted: Any = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The panel. ``request`` is JSON that counts instead of the controls, or through the API a dict.

    ``style`` is a picture or None, and counts while ``style_enabled``; ``style_pasted`` is what an infotext
    has in its place.
    """

    request: Any = ""
    enabled: Any = False
    identity_scale: Any = 0.7
    routing: Any = "auto"
    show_routing: Any = False
    check: Any = True
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
        own, width = len(fields(cls)) - 1, len(fields(PersonForm))
        rest = given[own:]
        tabs = [rest[tab * width : (tab + 1) * width] for tab in range(TABS)]
        return cls(
            **dict(zip(_names(cls), given, strict=False)),
            people=tuple(PersonForm(**dict(zip(_names(PersonForm), tab, strict=True))) for tab in tabs),
        )

    def values(self) -> list[Any]:
        """Every control's value, in the order of the script's arguments."""
        own = [getattr(self, name) for name in _names(Form)]
        return own + [getattr(person, name) for person in self.people for name in _names(PersonForm)]


def _names(kind: type) -> list[str]:
    return [one.name for one in fields(kind) if one.name != "people"]


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
        return [Upload(**one) for one in json.loads(text)] if text else []
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the list of uploads must be as the panel writes it, got {text[:60]!r}; "
            "through the API, give references in the request"
        ) from error


def text_of(uploads: Sequence[Upload]) -> str:
    """The text that ``uploads_of`` reads."""
    names = _names(Upload)
    return json.dumps([{name: getattr(one, name) for name in names} for one in uploads]) if uploads else ""


@runtime_checkable
class Pictures(Protocol):
    """Where uploaded pictures are kept."""

    def picture(self, key: str) -> bytes:
        """The file's bytes; ``ConfigError`` when it is no longer there."""
        ...


# --- the form into a request ---


def request_of(values: Sequence[Any], pictures: Pictures, *, api: bool = False) -> Request | None:
    """What a script's arguments ask for; None when it is switched off.

    A dict, or text where it is filled in, is the request itself; through the ``api`` it needs no switch.
    Otherwise the controls are.
    """
    form = Form.of(values)
    if form.enabled is True and isinstance(form.request, str) and not form.request.strip():
        return asked(_raw(form, pictures), form.enabled)
    return asked(form.request, form.enabled, api=api)


def _raw(form: Form, pictures: Pictures) -> dict[str, Any]:
    people = [
        (tab, person)
        for tab, person in enumerate(form.people, 1)
        if person.enabled is not False and (_text(tab, person, "who") or person.uploads)
    ]
    if not people:
        raise ConfigError(
            "nobody is chosen: choose somebody in the tab of a person or upload pictures there, "
            "or switch UniID off"
        )
    return {
        "version": VERSION,
        "people": [_raw_person(tab, person, pictures) for tab, person in people],
        "routing": form.routing,
        "identity_scale": form.identity_scale,
        "show_routing": form.show_routing,
        "check": form.check,
        "fallback": "plain" if form.plain else "fail",
        "style": _raw_style(form),
    }


def _raw_style(form: Form) -> dict[str, Any] | None:
    if form.style_enabled is False:
        return None
    picture = _encoded(form.style) or form.style_pasted
    if not picture:
        raise ConfigError("no style picture is given: upload one, or switch off that its style is taken")
    return {"picture": picture, "strength": form.style_strength}


def _raw_person(tab: int, person: PersonForm, pictures: Pictures) -> dict[str, Any]:
    who, mix_with = _text(tab, person, "who"), _text(tab, person, "mix_with")
    raw: dict[str, Any] = {
        "enabled": person.enabled,
        "weight": person.weight,
        "start": person.start,
        "end": person.end,
        "fingerprint": _pasted_of(person).get("fingerprint"),
    }
    if person.uploads:
        raw["references"] = [_reference(tab, one, pictures) for one in uploads_of(person.uploads)]
    if person.uploads:
        raw["name"] = who if who and not is_id(who) else f"person {tab}"
    else:
        raw |= _named(who)
    if not person.structure_automatic:
        raw["structure_scale"] = person.structure_scale
    if mix_with and person.mix_share != 0.0:
        raw["mix"] = [_named(mix_with) | {"share": person.mix_share}]
    return raw | _place(tab, person)


def _text(tab: int, person: PersonForm, name: str) -> str:
    """A text of a tab without blanks around it; components that were never touched may have None."""
    value = getattr(person, name)
    if not isinstance(value, (str, NoneType)):
        raise ConfigError(f"person {tab}: {name} must be text, got {value!r}")
    return (value or "").strip()


def _named(who: str) -> dict[str, Any]:
    return {"id": who} if is_id(who) else {"name": who}


def _reference(tab: int, upload: Upload, pictures: Pictures) -> dict[str, Any]:
    if upload.faces > 1 and upload.face is None:
        raise ConfigError(
            f"person {tab}: {upload.name} shows {upload.faces} faces; click the one that is meant"
        )
    encoded = base64.b64encode(pictures.picture(upload.key)).decode()
    return {"picture": encoded, "face": upload.face}


def _pasted_of(person: PersonForm) -> dict[str, Any]:
    """What an infotext said of somebody counts for as long as the same person is chosen."""
    try:
        kept = json.loads(person.pasted) if person.pasted and not person.uploads else {}
    except (TypeError, ValueError):  # never written by a paste
        kept = {}
    return kept if isinstance(kept, dict) and kept.get("who") == person.who else {}


def _place(tab: int, person: PersonForm) -> dict[str, Any]:
    """Mask or region."""
    if person.where == ANYWHERE:
        return {}
    if person.where != DRAWN:
        return {"region": person.where}
    mask = mask_text(person.mask) or _pasted_of(person).get("mask")
    if mask is None:
        raise ConfigError(
            f"person {tab}: nothing is drawn; draw where this person may be, upload a mask, "
            f"or choose {ANYWHERE} or a region"
        )
    return {"mask": mask}


def mask_text(value: Any) -> str | None:
    """A picture component's value as base64, None where nothing is painted; text is taken for that already.

    Raises ``PictureError`` for a file that is no picture.
    """
    if value is None or isinstance(value, str):
        return value or None
    import numpy as np

    parts = [_mask(part) for part in _drawn(value)]
    return _encoded(_grey(np.maximum.reduce(parts))) if any(part.any() for part in parts) else None


def _grey(mask: Any) -> Any:
    """A mask as a picture of PIL's."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.rint(255.0 * mask).astype(np.uint8))


def _encoded(picture: Any) -> Any:
    """A file or a picture of PIL's as base64; anything else is left for the request to look at."""
    if isinstance(picture, Path):
        from lib_uniid.faces.picture import read_picture

        return base64.b64encode(read_picture(picture)).decode()
    return base64.b64encode(_png(picture)).decode() if hasattr(picture, "save") else picture


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _drawn(value: Any) -> list[Any]:
    """The parts of what gradio's components for drawing hold, of which the lighter counts at each place.

    Those of gradio 3 have ``image`` and ``mask``, later ones a ``composite`` that is clear where nothing is.
    """
    if not isinstance(value, Mapping):
        return [value]
    return [value[name] for name in ("image", "mask", "composite") if value.get(name) is not None]


def _mask(part: Any) -> Any:
    """A mask of values in [0, 1]: out of a file, its bytes, base64, or what is decoded already."""
    from PIL import Image

    from lib_uniid.faces.picture import from_base64, load_mask

    if isinstance(part, str):
        part = from_base64(part, "the mask")
    elif not isinstance(part, (Path, bytes)):
        part = _png(part if isinstance(part, Image.Image) else Image.fromarray(part))
    return load_mask(part)


# --- a pasted request into the form ---


def form_of(request: Request, name_of: Callable[[str], str | None]) -> Form:
    """The form that asks for the same; as text where the controls cannot say it.

    ``name_of`` knows the names of those who are enrolled by their ids.
    """
    form = Form(
        enabled=request.enabled,
        identity_scale=request.identity_scale,
        routing=request.routing,
        show_routing=request.show_routing,
        check=request.check,
        plain=request.fallback == "plain",
    )
    if len(request.people) > TABS or not all(_fits(person) for person in request.people):
        return replace(form, request=json.dumps(to_dict(request)))
    people = [_person_form(person, name_of) for person in request.people]
    form = replace(form, people=(*people, *form.people[len(people) :]))
    return form if request.style is None else _styled(form, request.style)


def _styled(form: Form, style: StyleRequest) -> Form:
    """With a style's controls; one that an infotext names has no picture to show."""
    named = style.picture.startswith(DIGEST)
    return replace(
        form,
        style_enabled=True,
        style=None if named else _picture(style.picture),
        style_strength=style.strength,
        style_pasted=style.picture if named else "",
    )


def _fits(person: PersonRequest) -> bool:
    return len(person.mix) <= 1 and not person.references


def _person_form(person: PersonRequest, name_of: Callable[[str], str | None]) -> PersonForm:
    who = _shown(person, name_of)
    drawn = person.mask is not None and not person.mask.startswith(DIGEST)
    kept = {"who": who, "fingerprint": person.fingerprint, "mask": None if drawn else person.mask}
    automatic = person.structure_scale is None
    form = PersonForm(
        enabled=person.enabled,
        who=who,
        weight=person.weight,
        structure_automatic=automatic,
        structure_scale=AUTOMATIC if person.structure_scale is None else person.structure_scale,
        where=person.region or (ANYWHERE if person.mask is None else DRAWN),
        mask=_shown_mask(person.mask) if person.mask and drawn else None,
        start=person.start,
        end=person.end,
        pasted=json.dumps(kept),
    )
    for part in person.mix:
        form = replace(form, mix_with=_shown(part, name_of), mix_share=part.share)
    return form


def _picture(text: str) -> Any:
    """A picture in base64 as the component shows it; None where it is none."""
    from PIL import Image

    from lib_uniid.faces.picture import from_base64, load_picture

    try:
        return Image.fromarray(load_picture(from_base64(text, "the picture")))
    except PictureError:
        return None


def _shown_mask(text: str) -> Any:
    """The same of a mask."""
    try:
        return _grey(_mask(text))
    except PictureError:
        return None


def _shown(named: Any, name_of: Callable[[str], str | None]) -> str:
    """The name of somebody in a request, or their id where nobody of it is enrolled."""
    return named.name if named.id is None else name_of(named.id) or named.id


def readers(key: str, name_of: Callable[[str], str | None]) -> list[Entry]:
    """One reader per argument that says what an infotext's parameters make of it; None leaves it alone.

    A picture without anybody switches the panel off and leaves who is chosen in it. The text is read once
    for all: anew by the first function, which the host calls first, so that people enrolled since are known.
    """
    last: list[Any] = [None, []]

    def read(parameters: Mapping[str, Any], place: int) -> Any:
        text = parameters.get(key)
        if place == 0 or not last[1] or last[0] != text:
            last[:] = text, _pasted(text, name_of)
        return last[1][place]

    return [
        Entry(key, lambda parameters, place=place: read(parameters, place))
        for place in range(len(Form().values()))
    ]


def _pasted(text: Any, name_of: Callable[[str], str | None]) -> list[Any]:
    values: list[Any] = [None] * len(Form().values())
    if text is None:
        values[REQUEST], values[ENABLED] = "", False
        return values
    try:
        return form_of(parse_json(str(text)), name_of).values()
    except ConfigError:  # what is wrong with it is said when a picture is asked for
        values[REQUEST], values[ENABLED] = str(text), True
        return values


REQUEST, ENABLED = (_names(Form).index(name) for name in ("request", "enabled"))
