"""The request of API, panel and infotext: a versioned dict, checked field by field.

The hosts pass on any JSON, so every value is checked. A message has the field's path, the allowed values and
the given value. This module is imported when the WebUI starts, so it uses only the standard library and the
table of fields.
"""

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, TypeGuard

from lib_uniid import json_text
from lib_uniid.api.regions import REGIONS
from lib_uniid.errors import ConfigError
from lib_uniid.fields.person import MIX, PERSON, REFERENCE, PersonNumbers, unusable
from lib_uniid.fields.request import REQUEST, STYLE
from lib_uniid.fields.rows import REQUIRED, Row, Table
from lib_uniid.fields.shared import SharedSettings
from lib_uniid.library.names import MAX_NAME, normal
from lib_uniid.methods.registry import methods, require

VERSION = 1
MAX_BASE64 = 90 * 2**20
"""Limit of a picture in characters: a little more than ``faces.picture.MAX_BYTES`` in base64."""

Reader = Callable[[str, object], Any]
"""Takes a field's path and its raw value; returns the value, or raises ConfigError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRequest:
    """A picture of a person in base64 (plain or as a data URL), and the choice of the face in it.

    ``picture`` is the file's bytes if it was uploaded to the panel. ``face`` counts from 1, left to right.
    Without it the picture must have exactly one face, unless ``largest`` is set.
    """

    picture: str | bytes
    face: int | None = None
    largest: bool = REFERENCE["largest"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRequest:
    """Another enrolled person, by ``id`` or ``name``, and the share of this person in the mix."""

    share: float
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRequest(PersonNumbers):
    """One person: enrolled, by ``id`` or ``name``, or shown in ``references``.

    ``fingerprint`` is the one in an infotext. ``mask`` is a picture in base64, white where the person may
    appear; ``region`` is a named region in its place. ``prompt`` describes this person alone. The other
    fields are those of :class:`lib_uniid.config.PersonSettings`.
    """

    id: str | None = None
    name: str | None = None
    fingerprint: str | None = None
    references: tuple[ReferenceRequest, ...] = ()
    mix: tuple[MixRequest, ...] = ()
    mask: str | None = None
    region: str | None = None
    enabled: bool = PERSON["enabled"].default
    prompt: str = PERSON["prompt"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleRequest:
    """A style picture in base64; see :class:`lib_uniid.config.StyleSettings`."""

    picture: str
    strength: float = STYLE["strength"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(SharedSettings):
    """One generation. ``check`` checks which people are in the finished pictures.

    ``fallback`` is the action if identities cannot be applied: ``fail``, or ``plain``: generate without.
    ``show_routing`` adds, for each picture of several people, a copy in which the routing map is tinted.
    """

    version: int
    people: tuple[PersonRequest, ...]
    enabled: bool = REQUEST["enabled"].default
    method: str | None = None
    routing: str = REQUEST["routing"].default
    style: StyleRequest | None = None
    check: bool = REQUEST["check"].default
    fallback: str = REQUEST["fallback"].default
    show_routing: bool = REQUEST["show_routing"].default


TABLES: Mapping[type, Table] = {
    ReferenceRequest: REFERENCE,
    MixRequest: MIX,
    PersonRequest: PERSON,
    StyleRequest: STYLE,
    Request: REQUEST,
}
"""The fields of each part of a request."""


def parse(raw: object) -> Request:
    """A request from a dict; ``ConfigError`` for the first wrong field."""
    request = _request("", raw)
    assert isinstance(request, Request)
    return request


def parse_json(text: str) -> Request:
    """A request from JSON text, as in the panel and in an infotext."""
    try:
        raw = json_text.parsed(text)
    except ValueError as error:
        raise ConfigError(f"the request must be JSON ({error}), got {_shown(text)}") from error
    return parse(raw)


def from_arguments(raw: object = "", enabled: object = False, *, api: bool = False) -> Request | None:
    """The request in a script's arguments; None if it is off.

    Through the API the first argument is the request, as a dict or JSON, and its field ``enabled`` counts. In
    the panel it is a text, and the second argument is the switch.
    """
    if not isinstance(enabled, bool):
        raise ConfigError(f"the second argument, the switch, must be true or false, got {enabled!r}")
    if isinstance(raw, str) and not enabled and not (api and raw.strip()):
        return None
    request = parse_json(raw) if isinstance(raw, str) else parse(raw)
    return request if request.enabled else None


def to_dict(request: Request) -> dict[str, Any]:
    """The dict from which ``parse`` makes this request; fields with default values are left out."""
    return _to_dict(request)


def _to_dict(value: Any) -> dict[str, Any]:
    given = {name: (getattr(value, name), row.default) for name, row in TABLES[type(value)].items()}
    return {name: _plain(one) for name, (one, default) in given.items() if one != default}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_dict(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return _to_dict(value) if is_dataclass(value) else value


# --- readers of single values ---


def _wrong(path: str, message: str) -> ConfigError:
    return ConfigError(f"{path} {message}", field=path)


def _refused(path: str, allowed: str, value: object) -> ConfigError:
    return ConfigError(f"{path or 'the request'} must be {allowed}, got {_shown(value)}", field=path or None)


def _shown(value: object, most: int = 60) -> str:
    """A value as JSON, shortened to ``most`` characters; the type's name if it has no JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"{type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _number(low: float | int, high: float | int) -> Reader:
    def read(path: str, value: object) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        raise _refused(path, f"a number from {low:g} to {high:g}", value)  # NaN as well

    return read


def _whole(low: int, high: int) -> Reader:
    def read(path: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _refused(path, f"a whole number from {low} to {high}", value)
        return value

    return read


def _flag(path: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refused(path, "true or false", value)
    return value


def _text(most: int) -> Reader:
    def read(path: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > most:
            raise _refused(path, f"a text of 1 to {most} characters", value)
        return value

    return read


def _words(row: Row) -> Reader:
    def read(path: str, value: object) -> str:
        allowed = unusable(value, row) if isinstance(value, str) else "a text"
        if allowed or not isinstance(value, str):
            raise _refused(path, allowed or "a text", value)
        return value

    return read


def _name(path: str, value: object) -> str:
    """A name in normal form, for which the limit counts. Enrolling checks the names of new people."""
    return _text(MAX_NAME)(path, normal(value) if isinstance(value, str) else value)


def _method(path: str, value: object) -> str:
    if not isinstance(value, str):
        raise _refused(path, f"one of {', '.join(methods())}", value)
    try:
        return require(value).value.name
    except ConfigError as error:
        error.field = path
        raise


def _one_of(*allowed: str) -> Reader:
    def read(path: str, value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise _refused(path, f"one of {', '.join(allowed)}", value)
        return value

    return read


def _version(path: str, value: object) -> int:
    if value is not True and value == VERSION:
        return VERSION
    raise _refused(path, f"{VERSION}, the version of the request that this extension reads", value)


# --- readers of lists and objects ---


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def _is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _optional(read: Reader) -> Reader:
    return lambda path, value: None if value is None else read(path, value)


def _several(read: Reader, row: Row) -> Reader:
    most = round(row.high)

    def read_all(path: str, value: object) -> tuple[Any, ...]:
        if not _is_list(value) or len(value) > most:
            raise _refused(path, f"a list of at most {most}", value)
        return tuple(read(f"{path}[{number}]", one) for number, one in enumerate(value))

    return read_all


_READERS: dict[str, Callable[[Row], Reader]] = {
    "number": lambda row: _number(row.low, row.high),
    "whole": lambda row: _whole(round(row.low), round(row.high)),
    "flag": lambda _: _flag,
    "choice": lambda row: _one_of(*row.choices),
    "text": lambda _: _text(MAX_NAME),
    "words": _words,
    "name": lambda _: _name,
    "picture": lambda _: _text(MAX_BASE64),
    "region": lambda _: _one_of(*REGIONS),
    "method": lambda _: _method,
}
"""By the kind of a row; readers of records are given to :func:`_record`."""


def _record(kind: type, **held: Reader) -> Reader:
    table = TABLES[kind]
    readers = {name: _reader(row, held.get(name)) for name, row in table.items()}
    required = [name for name, row in table.items() if row.default is REQUIRED]

    def read(path: str, value: object) -> Any:
        if not _is_object(value):
            raise _refused(path, "an object", value)
        prefix = f"{path}." if path else ""
        unknown = sorted(str(name) for name in value if name not in readers)
        if unknown:
            field = f"{prefix}{unknown[0]}"
            raise ConfigError(f"{field} is unknown; allowed fields: {', '.join(readers)}", field=field)
        for field in (f"{prefix}{name}" for name in required if name not in value):
            raise ConfigError(f"{field} is missing; {path or 'the request'} needs it", field=field)
        return kind(**{name: readers[name](f"{prefix}{name}", one) for name, one in value.items()})

    return read


def _reader(row: Row, held: Reader | None) -> Reader:
    read = held or _READERS[row.kind](row)
    return _optional(read) if row.default is None else read


def _reference_picture(path: str, value: object) -> str | bytes:
    """Text in JSON, or a file's bytes from the panel's form."""
    return value if isinstance(value, bytes) else _text(MAX_BASE64)(path, value)


_reference_record = _record(ReferenceRequest, picture=_reference_picture)
_mix_record = _record(MixRequest)
_style = _record(StyleRequest)


def _reference(path: str, value: object) -> ReferenceRequest:
    """A plain text is a picture without options."""
    read = _reference_record(path, {"picture": value} if isinstance(value, str) else value)
    if read.face is not None and read.largest:
        raise _wrong(path, "has both face and largest; choose the face by one of them")
    return read


def _mix(path: str, value: object) -> MixRequest:
    read = _mix_record(path, value)
    if (read.id is None) == (read.name is None):
        raise _wrong(path, "must have either id or name of the person to mix in")
    return read


_person_record = _record(
    PersonRequest,
    references=_several(_reference, PERSON["references"]),
    mix=_several(_mix, PERSON["mix"]),
)


def _person(path: str, value: object) -> PersonRequest:
    read = _person_record(path, value)
    if read.id is None and read.name is None and not read.references:
        raise _wrong(path, "must have the id or the name of an enrolled person, or references")
    if read.id is not None and read.references:
        raise _wrong(path, "has both id and references; give one of them")
    if read.mask is not None and read.region is not None:
        raise _wrong(path, "has both mask and region; give one of them")
    if not read.start < read.end:
        numbers = f"{read.start:g} and {read.end:g}"
        raise _wrong(f"{path}.start", f"must lie before {path}.end, got {numbers}")
    total = math.fsum(part.share for part in read.mix)
    if total > 1.0 + 1e-6:
        raise _wrong(f"{path}.mix", f"must have shares of at most 1 together, got {total:g}")
    return read


_request_record = _record(
    Request, version=_version, people=_several(_person, REQUEST["people"]), style=_style
)


def _request(path: str, value: object) -> Request:
    read = _request_record(path, value)
    present = [person for person in read.people if person.enabled]
    if read.enabled and not present:
        raise _wrong("people", "must name at least one person who is enabled; or set enabled to false")
    if read.routing == "mask":
        _require_masks(read.people)
    return read


def _require_masks(people: Iterable[PersonRequest]) -> None:
    for number, person in enumerate(people):
        if person.enabled and person.mask is None and person.region is None:
            raise _wrong(f"people[{number}]", "must have a mask or a region if routing is mask")
