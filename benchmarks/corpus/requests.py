"""Hostile requests: objects of the API and texts of an infotext or of the panel's request field."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.corpus import Case, read, writes
from lib_uniid.api.request import parse, parse_json

Data = Callable[[], str]
PERSON = {"name": "Anna"}


def from_api(path: Path) -> object:
    """As from the WebUI's API: parsed JSON."""
    return parse(json.loads(read(path)))


def from_text(path: Path) -> object:
    """As from an infotext or the panel: JSON text."""
    return parse_json(read(path))


def cases() -> Iterator[Case]:
    """Texts, then objects through both entry points."""
    for name, data in TEXTS.items():
        yield Case(name=name, entry_point=from_text, write=writes("request.json", data))
    for name, data in OBJECTS.items():
        for entry_point in (from_api, from_text):
            yield Case(
                name=f"{name}/{entry_point.__name__}",
                entry_point=entry_point,
                write=writes("request.json", data),
            )


def _request(**values: object) -> Data:
    return lambda: json.dumps({"version": 1, "people": [PERSON]} | values)


def _person(**values: object) -> Data:
    return lambda: json.dumps({"version": 1, "people": [PERSON | values]})


TEXTS: dict[str, Data] = {
    "nothing": lambda: "",
    "lists-nested-a-million-deep": lambda: "[" * 1_000_000,
    "objects-nested-a-million-deep": lambda: '{"people":' * 1_000_000,
    "a-number-of-ten-million-digits": lambda: '{"version":' + "9" * 10_000_000 + "}",
    "an-exponent-without-end": lambda: '{"version":1e' + "9" * 1_000_000 + "}",
    "fifty-megabytes-of-spaces": lambda: " " * 50_000_000 + "{",
    "a-text-of-fifty-megabytes": lambda: '"' + "\\u0000" * 8_000_000 + '"',
    "a-million-keys": lambda: json.dumps({str(number): 0 for number in range(1_000_000)}),
    "one-key-a-million-times": lambda: "{" + ",".join('"version":1' for _ in range(1_000_000)) + "}",
    "half-a-surrogate": lambda: '{"version":1,"people":[{"name":"\\ud800"}]}',
}

OBJECTS: dict[str, Data] = {
    "a-list": lambda: "[]",
    "a-number": lambda: "1",
    "nothing-said": lambda: "null",
    "not-a-number": _request(identity_scale=float("nan")),
    "infinity": _request(identity_scale=float("inf")),
    "a-scale-of-4000-digits": _request(identity_scale=10**4000),
    "a-version-of-4000-digits": _request(version=10**4000),
    "a-version-that-is-a-list": _request(version=[[[[]]]]),
    "a-million-people": _request(people=[PERSON] * 1_000_000),
    "people-who-are-a-text": _request(people="Anna"),
    "a-million-unknown-fields": lambda: json.dumps({str(number): 0 for number in range(1_000_000)}),
    "an-unknown-field-of-ten-megabytes": lambda: json.dumps({"x" * 10_000_000: 0}),
    "a-region-of-ten-megabytes": _person(region="x" * 10_000_000),
    "a-name-of-ten-megabytes": _person(name="x" * 10_000_000),
    "a-name-of-terminal-escapes": _person(name="\x1b[2J\x1b]0;x\x07"),
    "a-path-as-an-id": _person(id="../../../../etc/passwd"),
    "a-mix-of-a-million": _person(mix=[{"name": "Ben", "share": 0}] * 1_000_000),
    "references-nested-900-deep": lambda: (
        '{"version":1,"people":[{"references":' + "[" * 900 + "]" * 900 + "}]}"
    ),
    "a-picture-of-85-megabytes-that-is-none": _person(references=["A" * 85_000_000]),
}
