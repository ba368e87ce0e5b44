"""Hostile stored or pasted texts: infotexts, the panel's fields and ``presets.json``."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.corpus import Case, read, writes
from benchmarks.corpus.pictures import flat_png
from lib_uniid.api.infotext import KEY
from lib_uniid.ui.form import Form, PersonForm
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.pasting import form_of, readers
from lib_uniid.ui.presets import FORMAT, Presets
from lib_uniid.ui.uploads import Uploads

Text = Callable[[], str]
ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\u2066\x9b31m"
ANNA = {"version": 1, "people": [{"name": "Anna"}]}
PATHS = ("../../../../etc/passwd", "/etc/shadow", "C:\\Windows\\win.ini", "\\\\server\\share\\a", "a\0b", "~")


def cases() -> Iterator[Case]:
    """Every text through every entry point for texts."""
    for name, text in TEXTS.items():
        for entry_point in (infotext, request_field, uploads_field, pasted_field, presets_file):
            yield Case(
                name=f"{name}/{entry_point.__name__}",
                entry_point=entry_point,
                write=writes("presets.json", text),
                quick=name not in LARGE,
            )
    for name, request in REQUESTS.items():
        for entry_point, wrapped in ((infotext, request), (presets_use, _preset_of(request))):
            yield Case(
                name=f"{name}/{entry_point.__name__}",
                entry_point=entry_point,
                write=writes("presets.json", wrapped),
            )
    for name, text in PRESETS.items():
        yield Case(
            name=f"{name}/presets_use",
            entry_point=presets_use,
            write=writes("presets.json", text),
            quick=name not in LARGE,
        )


def infotext(path: Path) -> object:
    """Paste an infotext: the host requests the value of each control."""
    text, values = read(path), readers(KEY, lambda _: None)
    return [entry({KEY: text}) for entry in values][:2]


def request_field(path: Path) -> object:
    """The panel's field *Request (JSON)*, when a generation starts."""
    return _asked(Form(enabled=True, request=read(path)))


def uploads_field(path: Path) -> object:
    """The list of uploads of a person's tab, which the page returns."""
    return _asked(Form(enabled=True, people=(PersonForm(uploads=read(path)),)))


def pasted_field(path: Path) -> object:
    """The part of a pasted infotext in a person's tab, which the page returns."""
    return _asked(Form(enabled=True, people=(PersonForm(who="Anna", pasted=read(path)),)))


def _asked(form: Form) -> object:
    return request_of(form.values(), Uploads(), api=False)


def presets_file(path: Path) -> object:
    """The text as the presets' file, which the panel lists."""
    return Presets(path=path).names()[:3]


def presets_use(path: Path) -> object:
    """List and use every preset of a file, request a missing one, and delete one."""
    presets = Presets(path=path)
    names = presets.names()
    for name in names[:20]:
        form_of(presets.get(name), lambda _: None)
    if names:
        presets.delete(names[0])
    return presets.get("a name that is not there")


# --- the texts ---


def _request(**values: object) -> Text:
    return lambda: json.dumps({"version": 1, "people": [{"name": "Anna"}]} | values)


def _person(**values: object) -> Text:
    return _request(people=[{"name": "Anna"} | values])


def _preset_of(request: Text) -> Text:
    return lambda: _presets({"a": json.loads(request())})


def _presets(presets: object, version: object = FORMAT) -> str:
    return json.dumps({"version": version, "presets": presets})


def _eps() -> str:
    return base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").decode()


def _svg() -> str:
    return base64.b64encode(
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    ).decode()


TEXTS: dict[str, Text] = {
    "lists-nested-a-thousand-deep": lambda: "[" * 1000 + "]" * 1000,
    "lists-nested-a-million-deep": lambda: "[" * 1_000_000,
    "objects-nested-a-million-deep": lambda: '{"presets":' * 1_000_000,
    "a-megabyte-of-commas": lambda: "," * 1_000_000,
    "fifty-megabytes-of-empty-objects": lambda: "[" + "{}," * 16_000_000 + "{}]",
    "a-million-keys": lambda: json.dumps({str(number): [] for number in range(1_000_000)}),
    "a-number-of-ten-million-digits": lambda: "9" * 10_000_000,
    "a-long-exponent": lambda: "1e" + "9" * 1_000_000,
    "half-a-surrogate": lambda: '{"version":1,"people":[{"name":"\ud800"}],"presets":{"\ud800":{}}}',
    "terminal-escapes": lambda: ESCAPES,
    "a-byte-order-mark": lambda: '\ufeff{"version":1}',
    "null": lambda: "null",
    "a-text": lambda: '"' + "x" * 1_000_000 + '"',
    "an-infotext-in-an-infotext": lambda: 'Steps: 1, UniID: "{\\"version\\": 1}", UniID: 2',
}
LARGE = {"fifty-megabytes-of-empty-objects", "a-gigabyte-of-blanks", "a-million-presets"}

REQUESTS: dict[str, Text] = {
    "a-name-of-escapes": _person(name=ESCAPES),
    "a-region-of-escapes": _person(region=ESCAPES),
    "an-unknown-field-of-escapes": _request(**{ESCAPES: 1}),
    "an-id-of-a-path": _request(people=[{"id": PATHS[0]}]),
    **{f"a-name-of-a-path-{number}": _person(name=path) for number, path in enumerate(PATHS)},
    **{f"a-mask-of-a-path-{number}": _person(mask=path) for number, path in enumerate(PATHS)},
    **{f"a-style-of-a-path-{number}": _request(style={"picture": path}) for number, path in enumerate(PATHS)},
    "a-mask-of-a-digest-of-a-path": _person(mask="sha256:../../etc/passwd"),
    "a-mask-of-postscript": lambda: _person(mask=_eps())(),
    "a-style-of-postscript": lambda: _request(style={"picture": _eps()})(),
    "a-style-of-svg": lambda: _request(style={"picture": _svg()})(),
    "a-style-of-49-megapixels": lambda: _request(
        style={"picture": base64.b64encode(flat_png(7000, 7000)).decode()}
    )(),
    "a-style-that-is-an-address": _request(style={"picture": "http://127.0.0.1:9/a.png"}),
    "numbers-beyond-all": _person(weight=10**300, start=-(10**300), end=10**4000),
    "a-version-beyond-all": _request(version=10**4000),
    "a-weight-that-is-no-number": lambda: '{"version":1,"people":[{"name":"Anna","weight":NaN}]}',
    "people-100-deep": _request(people=[[[[{}]]]]),
    "five-people": _request(people=[{"name": str(number)} for number in range(5)]),
}

PRESETS: dict[str, Text] = {
    "presets-that-are-a-list": lambda: _presets([["a", 1], ["b", []]]),
    "presets-that-are-a-number": lambda: _presets(1),
    "a-preset-that-is-a-number": lambda: _presets({"a": 1, "b": None, "c": "x", "d": []}),
    "a-version-that-is-a-list": lambda: _presets({}, version=[[]]),
    "a-version-of-4000-digits": lambda: _presets({}, version=10**4000),
    "names-of-escapes": lambda: _presets({ESCAPES: {}}),
    "names-of-paths": lambda: _presets({path: ANNA for path in PATHS}),
    "a-name-of-ten-megabytes": lambda: _presets({"x" * 10_000_000: {}}),
    "a-million-presets": lambda: _presets({str(number): {} for number in range(1_000_000)}),
    "a-gigabyte-of-blanks": lambda: " " * 10**9,
}
