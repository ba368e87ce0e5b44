"""Makes the panel's form of a pasted request; imported when the WebUI starts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lib_uniid.api.infotext import DIGEST, PasteField
from lib_uniid.api.regions import ANYWHERE
from lib_uniid.api.request import PersonRequest, Request, StyleRequest, parse_json, to_dict
from lib_uniid.errors import ConfigError, PictureError
from lib_uniid.fields.person import METHOD_NUMBERS, PersonNumbers
from lib_uniid.fields.rows import Row, numbers_of
from lib_uniid.fields.shared import SHARED_METHOD_NUMBERS, SharedNumbers
from lib_uniid.ui.form import ANY_METHOD, DRAWN, SHARED_SWITCHED, TABS, Form, PersonForm, names_of, switch_of
from lib_uniid.ui.form_request import grey, mask_picture


def form_of(request: Request, name_of: Callable[[str], str | None]) -> Form:
    """The form for a request; the request is kept as JSON if the controls cannot express it.

    ``name_of`` returns the name of an enrolled person by id.
    """
    form = Form(
        enabled=request.enabled,
        method=request.method or ANY_METHOD,
        routing=request.routing,
        show_routing=request.show_routing,
        check=request.check,
        plain=request.fallback == "plain",
        branches=request.branches,
        rescaling=request.rescaling,
        order=request.order,
        **_switched(numbers_of(request, SharedNumbers), SHARED_SWITCHED),
    )
    others = [row for row in SHARED_METHOD_NUMBERS if row not in SHARED_SWITCHED]
    hidden = any(getattr(request, row.name) is not None for row in others)
    shown = len(request.people) <= TABS and all(_fits(person) for person in request.people)
    if hidden or not shown:
        return replace(form, request=json.dumps(to_dict(request)))
    people = [_person_form(person, name_of) for person in request.people]
    form = replace(form, people=(*people, *form.people[len(people) :]))
    return form if request.style is None else _styled(form, request.style)


def _styled(form: Form, style: StyleRequest) -> Form:
    """The form with a style. An infotext has only the digest of a style picture."""
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
    form = PersonForm(
        enabled=person.enabled,
        who=who,
        prompt=person.prompt,
        where=person.region or (ANYWHERE if person.mask is None else DRAWN),
        mask=_shown_mask(person.mask) if person.mask and drawn else None,
        pasted=json.dumps(kept),
        **_switched(numbers_of(person, PersonNumbers), METHOD_NUMBERS),
    )
    for part in person.mix:
        form = replace(form, mix_with=_shown(part, name_of), mix_share=part.share)
    return form


def _switched(numbers: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The numbers that are given, and a switch for each that a method decides."""
    given = {name: value for name, value in numbers.items() if value is not None}
    return given | {switch_of(row): row.name not in given for row in rows}


def _picture(text: str) -> Any:
    """A picture in base64 for the component; None if it is not a picture."""
    from PIL import Image

    from lib_uniid.faces.picture import from_base64, load_picture

    try:
        return Image.fromarray(load_picture(from_base64(text, "the picture")))
    except PictureError:
        return None


def _shown_mask(text: str) -> Any:
    """A mask in base64 for the component; None if it is not a picture."""
    try:
        return grey(mask_picture(text))
    except PictureError:
        return None


def _shown(named: Any, name_of: Callable[[str], str | None]) -> str:
    """The name of a person in a request, or the id if no enrolled person has it."""
    return named.name if named.id is None else name_of(named.id) or named.id


def readers(key: str, name_of: Callable[[str], str | None]) -> list[PasteField]:
    """One function per argument that reads its value from an infotext; None leaves the control unchanged.

    An infotext without a request turns UniID off and keeps the selected people. The host calls the first
    function first, and this one parses the text for all, so that newly enrolled people are found.
    """
    last: list[Any] = [None, []]

    def read(parameters: Mapping[str, Any], place: int) -> Any:
        text = parameters.get(key)
        if place == 0 or not last[1] or last[0] != text:
            last[:] = text, _pasted(text, name_of)
        return last[1][place]

    return [
        PasteField(key, lambda parameters, place=place: read(parameters, place))
        for place in range(len(Form().values()))
    ]


def _pasted(text: Any, name_of: Callable[[str], str | None]) -> list[Any]:
    values: list[Any] = [None] * len(Form().values())
    if text is None:
        values[REQUEST], values[ENABLED] = "", False
        return values
    try:
        return form_of(parse_json(str(text)), name_of).values()
    except ConfigError:  # the next generation reports the error
        values[REQUEST], values[ENABLED] = str(text), True
        return values


REQUEST, ENABLED = (names_of(Form).index(name) for name in ("request", "enabled"))
