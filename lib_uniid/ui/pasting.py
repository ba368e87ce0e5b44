"""A pasted request into the panel's form; imported at the WebUI's start."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lib_uniid.api.infotext import DIGEST, PasteField
from lib_uniid.api.regions import ANYWHERE
from lib_uniid.api.request import PersonRequest, Request, StyleRequest, parse_json, to_dict
from lib_uniid.errors import ConfigError, PictureError
from lib_uniid.fields import numbers_of
from lib_uniid.ui.form import AUTOMATIC, DRAWN, TABS, Form, PersonForm, names_of
from lib_uniid.ui.form_request import grey, mask_picture


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
    shown = len(request.people) <= TABS and all(_fits(person) for person in request.people)
    if not shown or request.method is not None:
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
    numbers = numbers_of(person)
    automatic = numbers["structure_scale"] is None
    if automatic:
        numbers["structure_scale"] = AUTOMATIC
    form = PersonForm(
        enabled=person.enabled,
        who=who,
        structure_automatic=automatic,
        where=person.region or (ANYWHERE if person.mask is None else DRAWN),
        mask=_shown_mask(person.mask) if person.mask and drawn else None,
        pasted=json.dumps(kept),
        **numbers,
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
        return grey(mask_picture(text))
    except PictureError:
        return None


def _shown(named: Any, name_of: Callable[[str], str | None]) -> str:
    """The name of a person in a request, or their id where no enrolled person has it."""
    return named.name if named.id is None else name_of(named.id) or named.id


def readers(key: str, name_of: Callable[[str], str | None]) -> list[PasteField]:
    """One reader per argument that says what an infotext's parameters make of it; None leaves it alone.

    A picture without people switches the panel off and leaves who is chosen in it. The text is read once
    for all: anew by the first function, which the host calls first, so that people enrolled since are known.
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
    except ConfigError:  # what is wrong with it is said when a picture is asked for
        values[REQUEST], values[ENABLED] = str(text), True
        return values


REQUEST, ENABLED = (names_of(Form).index(name) for name in ("request", "enabled"))
