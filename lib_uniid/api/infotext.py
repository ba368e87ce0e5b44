"""The infotext entry on the people in a picture: ids and fingerprints, no pixels."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lib_uniid.api.request import MixRequest, PersonRequest, Request, to_dict

KEY = "UniID"
"""The infotext's key; its value is a request in JSON, which the host quotes."""

RESULT = "UniID result"
"""The key of the check of the pictures in the generation's result; it is never in an infotext."""

NOTES = "UniID notes"
"""The key of the notes in the result: the API's answer does not contain the host's comments."""

DIGEST = "sha256:"


class PasteField(str):
    """The name of an infotext entry that is also a function from an infotext to a control's value.

    When an infotext is pasted, hosts call fields that are callable. *Send to img2img* does not: it copies the
    controls whose field is a name in the script's ``paste_field_names``.
    """

    read: Callable[[Mapping[str, Any]], Any]

    def __new__(cls, key: str, read: Callable[[Mapping[str, Any]], Any]) -> "PasteField":
        entry = super().__new__(cls, key)
        entry.read = read
        return entry

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        return self.read(parameters)


def describe(request: Request, known: Mapping[str, str]) -> str:
    """The entry's value; ``known`` has the fingerprint of each person in ``request``, by id."""
    people, style = tuple(_described(person, known) for person in request.people), request.style
    if style is not None:
        style = replace(style, picture=_digest(style.picture))
    described = replace(request, people=people, style=style)
    return json.dumps(to_dict(described), separators=(",", ":"))


def _described(person: PersonRequest, known: Mapping[str, str]) -> PersonRequest:
    assert person.id is not None, "each found person has an id"
    return replace(
        person,
        name=None,
        references=(),
        mask=None if person.mask is None else _digest(person.mask),
        fingerprint=known[person.id],
        mix=tuple(MixRequest(id=part.id, share=part.share) for part in person.mix),
    )


def _digest(picture: str) -> str:
    """The digest of a picture in base64; a digest stays unchanged."""
    return (
        picture if picture.startswith(DIGEST) else DIGEST + hashlib.sha256(picture.encode()).hexdigest()[:12]
    )
