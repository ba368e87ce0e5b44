"""Makes a request of the panel's form.

The form becomes the same versioned dict that the API takes, and :mod:`lib_uniid.api.request` checks it.
Imported when the WebUI starts, so it imports nothing heavy.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from lib_uniid import json_text
from lib_uniid.api.regions import ANYWHERE
from lib_uniid.api.request import VERSION, Request, from_arguments
from lib_uniid.errors import ConfigError
from lib_uniid.fields.person import METHOD_NUMBERS, PersonNumbers
from lib_uniid.fields.rows import Row, numbers_of
from lib_uniid.fields.shared import METHOD_CHOICES, SharedNumbers
from lib_uniid.library.names import is_id
from lib_uniid.ui.form import (
    ANY_METHOD,
    DRAWN,
    SHARED_SWITCHED,
    Form,
    PersonForm,
    Pictures,
    Upload,
    switch_of,
    uploads_of,
)


def request_of(values: Sequence[Any], pictures: Pictures, *, api: bool = False) -> Request | None:
    """The request in a script's arguments; None if UniID is off.

    If the first argument is a dict or a text that is not empty, it is the request. Through the ``api`` it
    needs no switch. Otherwise the controls make the request.
    """
    form = Form.of(values)
    if form.enabled is True and isinstance(form.request, str) and not form.request.strip():
        return from_arguments(_raw(form, pictures), form.enabled)
    return from_arguments(form.request, form.enabled, api=api)


def _raw(form: Form, pictures: Pictures) -> dict[str, Any]:
    people = [
        (tab, person)
        for tab, person in enumerate(form.people, 1)
        if person.enabled is not False and (_text(tab, person, "who") or person.uploads)
    ]
    if not people:
        raise ConfigError(
            "no person is selected; select a person or upload pictures in a tab, or turn UniID off"
        )
    return {
        "version": VERSION,
        "people": [_raw_person(tab, person, pictures) for tab, person in people],
        "method": None if form.method in (ANY_METHOD, "", None) else form.method,
        "routing": form.routing,
        **_used(form, numbers_of(form, SharedNumbers), SHARED_SWITCHED),
        **{row.name: getattr(form, row.name) for row in METHOD_CHOICES},
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
        raise ConfigError("the style reference has no picture; upload a picture, or turn Style reference off")
    return {"picture": picture, "strength": form.style_strength}


def _raw_person(tab: int, person: PersonForm, pictures: Pictures) -> dict[str, Any]:
    who, mix_with = _text(tab, person, "who"), _text(tab, person, "mix_with")
    raw: dict[str, Any] = {
        "enabled": person.enabled,
        "fingerprint": _pasted_of(person).get("fingerprint"),
        "prompt": _text(tab, person, "prompt"),
        **_used(person, numbers_of(person, PersonNumbers), METHOD_NUMBERS),
    }
    if person.uploads:
        raw["references"] = [_reference(tab, one, pictures) for one in uploads_of(person.uploads)]
    if person.uploads:
        raw["name"] = who if who and not is_id(who) else f"person {tab}"
    else:
        raw |= _named(who)
    if mix_with and person.mix_share != 0.0:
        raw["mix"] = [_named(mix_with) | {"share": person.mix_share}]
    return raw | _place(tab, person)


def _used(form: Form | PersonForm, numbers: dict[str, Any], switched: Sequence[Row]) -> dict[str, Any]:
    """Without the numbers for which the method's default is taken."""
    automatic = {row.name for row in switched if getattr(form, switch_of(row))}
    return {name: value for name, value in numbers.items() if name not in automatic}


def _text(tab: int, person: PersonForm, name: str) -> str:
    """A text of a tab without surrounding blanks; components without input may have None."""
    value = getattr(person, name)
    if not isinstance(value, (str, NoneType)):
        raise ConfigError(f"person {tab}: {name} must be text, got {value!r}")
    return (value or "").strip()


def _named(who: str) -> dict[str, Any]:
    return {"id": who} if is_id(who) else {"name": who}


def _reference(tab: int, upload: Upload, pictures: Pictures) -> dict[str, Any]:
    if upload.faces > 1 and upload.face is None:
        raise ConfigError(
            f"person {tab}: {upload.name} shows {upload.faces} faces; click the face of this person"
        )
    return {"picture": pictures.picture(upload.key), "face": upload.face}


def _pasted_of(person: PersonForm) -> dict[str, Any]:
    """An infotext's data on a person; used as long as the same person is selected."""
    try:
        kept = json_text.parsed(person.pasted) if person.pasted and not person.uploads else {}
    except (TypeError, ValueError):  # text that no paste has written
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
            f"person {tab}: the mask is empty; paint where this person may appear, upload a mask, "
            f"or select {ANYWHERE} or a region"
        )
    return {"mask": mask}


def mask_text(value: Any) -> str | None:
    """A picture component's value as base64; None for an empty mask. Text must be base64 already.

    Raises ``PictureError`` for a file that is not a picture.
    """
    if value is None or isinstance(value, str):
        return value or None
    import numpy as np

    parts = [mask_picture(part) for part in _drawn(value)]
    return _encoded(grey(np.maximum.reduce(parts))) if any(part.any() for part in parts) else None


def grey(mask: Any) -> Any:
    """A mask as a PIL picture."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.rint(255.0 * mask).astype(np.uint8))


def _encoded(picture: Any) -> Any:
    """A file or a PIL picture as base64; any other value is returned, and the request checks it."""
    if isinstance(picture, Path):
        from lib_uniid.faces.picture import read_picture

        return base64.b64encode(read_picture(picture)).decode()
    return base64.b64encode(_png(picture)).decode() if hasattr(picture, "save") else picture


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _drawn(value: Any) -> list[Any]:
    """The parts of the value of gradio's drawing components; the lightest value counts at each pixel.

    gradio 3 gives ``image`` and ``mask``; later versions a ``composite``, transparent where it is empty.
    """
    if not isinstance(value, Mapping):
        return [value]
    return [value[name] for name in ("image", "mask", "composite") if value.get(name) is not None]


def mask_picture(part: Any) -> Any:
    """A mask with values in [0, 1], from a file, its bytes, base64, or decoded pixels."""
    from PIL import Image

    from lib_uniid.faces.picture import from_base64, load_mask

    if isinstance(part, str):
        part = from_base64(part, "the mask")
    elif not isinstance(part, (Path, bytes)):
        part = _png(part if isinstance(part, Image.Image) else Image.fromarray(part))
    return load_mask(part)
