"""Finds the identities of a request: in the library, or in the request's reference pictures."""

import hashlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lib_uniid.api.infotext import DIGEST
from lib_uniid.api.regions import REGIONS
from lib_uniid.api.request import MixRequest, PersonRequest, ReferenceRequest, Request, StyleRequest
from lib_uniid.config import PersonSettings, StyleSettings
from lib_uniid.errors import ConfigError, UniIDError
from lib_uniid.faces.picture import check_picture, from_base64, load_mask, load_picture
from lib_uniid.faces.same import different
from lib_uniid.fields.person import PersonNumbers
from lib_uniid.fields.rows import numbers_of
from lib_uniid.host import Picture
from lib_uniid.identity_pipeline import IdentityPipeline, Reference
from lib_uniid.library.store import Identity, Library
from lib_uniid.typing import Float32

UNENROLLED = "pictures-"
"""Prefix of the id of a person who is not enrolled; the fingerprint of the features follows."""

MAX_PIXELS = 200_000_000
"""Limit of all pictures of a request together: sixteen photographs of twelve megapixels."""

SIDE = 384
"""Width and height of a region's mask in pixels: larger than a latent, and divisible by two and three."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundIdentities:
    """All identities of one generation.

    ``people`` has them by name, including those that are only mixed in. ``request`` is the original request
    with each person's id, ``known`` has the fingerprints by id, and ``notes`` are for the user. ``style`` is
    the style picture.
    """

    settings: tuple[PersonSettings, ...]
    people: Mapping[str, Identity]
    request: Request
    known: Mapping[str, str]
    notes: tuple[str, ...]
    style: StyleSettings | None


def find_identities(
    request: Request, pipeline: IdentityPipeline, library: Library, method: str | None = None
) -> FoundIdentities:
    """Find or encode all identities of the request, for a method where the request names none.

    Raises a :class:`lib_uniid.errors.UniIDError` that begins with the field's path.
    """
    check_pictures(request)
    found = _Found(pipeline, library, request.method or method)
    present: list[PersonRequest] = []
    settings: list[PersonSettings] = []
    for number, person in enumerate(request.people):
        if not person.enabled:
            continue
        path = f"people[{number}]"
        named = found.person(path, person, number)
        if any(before.id == named.id for before in present):
            raise ConfigError(f"{path} is in the request twice; name each person once", field=path)
        settings.append(_settings(path, named, found))
        found.notes += settings[-1].notes
        present.append(named)
    return FoundIdentities(
        settings=tuple(settings),
        people=found.people,
        request=replace(request, people=tuple(present)),
        known={key: fingerprint(found.people[name]) for key, name in found.names.items()},
        notes=tuple(found.notes),
        style=None if request.style is None else _style(request.style),
    )


def check_pictures(request: Request) -> None:
    """Raise ``ConfigError`` if all pictures of a request have more than ``MAX_PIXELS`` together."""
    total = 0
    for path, text in _pictures(request):
        with _of(path, named=True):
            total += check_picture(_data(path, text), path)
        if total > MAX_PIXELS:
            raise ConfigError(
                f"the pictures of the request have more than {MAX_PIXELS // 10**6} megapixels together; "
                "give fewer or smaller ones"
            )


def _pictures(request: Request) -> Iterator[tuple[str, str | bytes]]:
    """The field's path of each picture, and its base64 or its file's bytes."""
    for number, person in enumerate(request.people):
        for place, one in enumerate(person.references):
            yield f"people[{number}].references[{place}].picture", one.picture
        if person.mask is not None and not person.mask.startswith(DIGEST):
            yield f"people[{number}].mask", person.mask
    if request.style is not None and not request.style.picture.startswith(DIGEST):
        yield "style.picture", request.style.picture


def fingerprint(person: Identity) -> str:
    """Twelve hex digits of a hash of what a person was enrolled from; other pictures give another one.

    It is of the crops, or of the features of a person without crops.
    """
    if person.crops is not None:
        return hashlib.sha256(np.ascontiguousarray(person.crops).tobytes()).hexdigest()[:12]
    digest = hashlib.sha256()
    for features in person.features.values():
        digest.update(features.fingerprint.encode())
        for _, tensor in sorted(features.tensors.items()):
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


class _Found:
    """The identities found so far, by name, and their names by id."""

    def __init__(self, pipeline: IdentityPipeline, library: Library, method: str | None) -> None:
        self.pipeline, self.library, self.method = pipeline, library, method
        self.people: dict[str, Identity] = {}
        self.names: dict[str, str] = {}  # by id
        self.notes: list[str] = []

    def person(self, path: str, requested: PersonRequest, number: int) -> PersonRequest:
        """The person with id and name, and with the ids of the people in the mix."""
        if requested.references:
            key, name = self._enrol(path, requested, number)
        else:
            key, name = self._enrolled(path, requested.id, requested.name)
        if requested.fingerprint not in (None, fingerprint(self.people[name])):
            self.notes.append(f"{name} was re-enrolled since this picture was made; the result may differ")
        mix: list[MixRequest] = []
        for place, part in enumerate(requested.mix):
            other, _ = self._enrolled(f"{path}.mix[{place}]", part.id, part.name)
            mix.append(replace(part, id=other))
        return replace(requested, id=key, name=name, mix=tuple(mix))

    def _enrol(self, path: str, requested: PersonRequest, number: int) -> tuple[str, str]:
        name = requested.name or f"person {number + 1}"
        references = [
            _reference(f"{path}.references[{place}]", one) for place, one in enumerate(requested.references)
        ]
        with _of(path):
            person, seen = self.pipeline.enrol(name, references, force=True, method=self.method)
        if sentence := different([one.label for one in references], seen):
            self.notes.append(sentence)
        return self._add(path, UNENROLLED + fingerprint(person), person)

    def _enrolled(self, path: str, key: str | None, name: str | None) -> tuple[str, str]:
        """By id (``key``), or else by name."""
        if key is not None and key.startswith(UNENROLLED):
            raise ConfigError(
                f"{path}.id: {key!r} is of pictures that were not kept; give them as references again",
                field=f"{path}.id",
            )
        with _of(f"{path}.name" if key is None else f"{path}.id"):
            found = self.library.find(name or "") if key is None else (key, self.library.load_id(key))
        return self._add(path, *found)

    def _add(self, path: str, key: str, person: Identity) -> tuple[str, str]:
        name = person.name
        if name in self.people and self.names.get(key) != name:
            raise ConfigError(
                f"{path} has the name {name!r}, which another person of the request has, too; "
                "give each person another name",
                field=path,
            )
        self.people[name], self.names[key] = person, name
        return key, name


def _settings(path: str, person: PersonRequest, found: _Found) -> PersonSettings:
    assert person.id is not None, "each found person has an id"
    mask = _place(path, person)
    try:
        return PersonSettings(
            name=found.names[person.id],
            mix=tuple((found.names[part.id or ""], part.share) for part in person.mix),
            mask=mask,
            prompt=person.prompt,
            **numbers_of(person, PersonNumbers),
        )
    except ConfigError as error:
        error.within(path)
        raise


def _style(requested: StyleRequest) -> StyleSettings:
    if requested.picture.startswith(DIGEST):
        raise ConfigError(
            "style.picture: an infotext has only the digest of the picture; give the picture again",
            field="style.picture",
        )
    return StyleSettings(picture=_picture("style.picture", requested.picture), strength=requested.strength)


def _reference(path: str, requested: ReferenceRequest) -> Reference:
    path_of_picture = f"{path}.picture"
    return Reference(
        picture=partial(_picture, path_of_picture, requested.picture),  # decoded one at a time
        label=path,
        digest=hashlib.sha256(_data(path_of_picture, requested.picture)).hexdigest(),
        number=requested.face,
        largest=requested.largest,
    )


def _place(path: str, person: PersonRequest) -> Float32[np.ndarray, "height width"] | None:
    """The mask of a person; None if the router decides."""
    if person.region is not None:
        return _region(person.region)
    return None if person.mask is None else _mask(f"{path}.mask", person.mask)


def _region(region: str) -> Float32[np.ndarray, "side side"]:
    """The mask of a region."""
    left, top, right, bottom = (round(share * SIDE) for share in REGIONS[region])
    mask = np.zeros((SIDE, SIDE), dtype=np.float32)
    mask[top:bottom, left:right] = 1.0
    return mask


def _mask(path: str, text: str) -> Float32[np.ndarray, "height width"]:
    if text.startswith(DIGEST):
        raise ConfigError(
            f"{path}: an infotext has only the digest of the mask; give the mask again", field=path
        )
    with _of(path, named=True):
        return load_mask(from_base64(text, path), path)


def _picture(path: str, picture: str | bytes) -> Picture:
    with _of(path, named=True):
        return load_picture(_data(path, picture), path)


def _data(path: str, picture: str | bytes) -> bytes:
    """The bytes of a picture's file."""
    return picture if isinstance(picture, bytes) else from_base64(picture, path)


@contextmanager
def _of(path: str, *, named: bool = False) -> Generator[None]:
    """Set the field of errors without one. Their messages get its path, unless they have it (``named``)."""
    try:
        yield
    except UniIDError as error:
        if error.field is None and named:
            error.field = path
        elif error.field is None:
            error.within(path)
        raise
