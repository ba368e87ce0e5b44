"""What is written into a picture about the people in it and read back: ids and fingerprints, no pixels."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lib_uniid.api.request import MixRequest, PersonRequest, Request, to_dict

KEY = "UniID"
"""The infotext's key; its value is a request in JSON, which the host quotes."""

RESULT = "UniID result"
"""The key in the generation's result under which the check of the pictures stands; never in an infotext."""

NOTES = "UniID notes"
"""The same for what is said under the picture beside that: the API leaves the host's comments out."""

DIGEST = "sha256:"


class PasteField(str):
    """The name of an infotext's entry that is also what makes a control's value of an infotext.

    Hosts call what can be called where something is pasted. *Send to img2img* carries the controls whose
    entries have a name among the script's ``paste_field_names``, and knows no functions.
    """

    read: Callable[[Mapping[str, Any]], Any]

    def __new__(cls, key: str, read: Callable[[Mapping[str, Any]], Any]) -> "PasteField":
        entry = super().__new__(cls, key)
        entry.read = read
        return entry

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        return self.read(parameters)


def describe(request: Request, known: Mapping[str, str]) -> str:
    """The entry's value; ``known`` has the fingerprint of each person in ``request`` by their id."""
    people, style = tuple(_described(person, known) for person in request.people), request.style
    if style is not None:
        style = replace(style, picture=_digest(style.picture))
    described = replace(request, people=people, style=style)
    return json.dumps(to_dict(described), separators=(",", ":"))


def _described(person: PersonRequest, known: Mapping[str, str]) -> PersonRequest:
    assert person.id is not None, "each person has an id once they are found"
    return replace(
        person,
        name=None,
        references=(),
        mask=None if person.mask is None else _digest(person.mask),
        fingerprint=known[person.id],
        mix=tuple(MixRequest(id=part.id, share=part.share) for part in person.mix),
    )


def _digest(picture: str) -> str:
    """Names a picture in base64 in its place; what is a name already stays."""
    return (
        picture if picture.startswith(DIGEST) else DIGEST + hashlib.sha256(picture.encode()).hexdigest()[:12]
    )
