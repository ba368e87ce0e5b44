"""The panel's texts and small pictures as HTML. Names and sentences are always escaped."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from lib_uniid import installation
from lib_uniid.bases import titles
from lib_uniid.failures import explain
from lib_uniid.methods import registry
from lib_uniid.printing import shortened
from lib_uniid.ui.form import Upload
from lib_uniid.ui.status import Missing, Status
from lib_uniid.ui.uploads import Crop

if TYPE_CHECKING:
    from lib_uniid.ui.likeness import Verdict
else:
    Verdict = Any

ICON = 28
"""Width and height of a face on a tab's button, in pixels."""
SIDE = 160
FRAME = 8
CHOSEN, DIM = (22, 163, 74), 0.45
"""The colour of the frame around the chosen face, and the brightness of the other faces."""


def status(status: Status) -> str:
    """Method, checkpoint and missing files in a line or two."""
    if status.packages:
        return _box("bad", _packages(status.packages))
    if status.lacks:
        names = ", ".join(f"<b>{escape(one.file)}</b>, which {escape(one.purpose)}" for one in status.lacks)
        return _box("bad", f"Missing model files: {names}.")
    lines = [_base(status), *map(_limit, status.limits)]
    kind = "bad" if status.fits is False else "note" if status.limits else "good"
    further = [*status.off, *([status.domain_note] if status.domain_note else [])]
    return _box(kind, "<br>".join(lines)) + notes([_capitalized(one) for one in further])


def _capitalized(sentence: str) -> str:
    """With a capital first letter; the other letters keep their case."""
    return sentence[:1].upper() + sentence[1:]


def _packages(found: Sequence[installation.Problem]) -> str:
    """The sentence of :func:`lib_uniid.installation.sentence` with its command on a separate line."""
    command = installation.command(found)
    words = installation.sentence(found).removesuffix(command)
    return f"{escape(words)}<br><code>{escape(command)}</code>"


def _limit(one: Missing) -> str:
    """What an optional missing file is for."""
    if one.problem:
        return f"{escape(one.file)} cannot be used: {escape(one.problem)}"
    return f"Missing model file: {escape(one.file)}, which {escape(one.purpose)}."


def _base(status: Status) -> str:
    method = f"<b>{escape(status.method)}</b>"
    people = len(status.people)
    enrolled = f"{people} {'person' if people == 1 else 'people'} in the library"
    if status.checkpoint is None:
        return f"{method} is ready; no checkpoint is selected &middot; {enrolled}."
    name = f"<b>{escape(status.checkpoint)}</b>"
    if status.fits is None:
        return f"{method} is ready; checkpoint type of {name} is unknown &middot; {enrolled}."
    if not status.fits:
        return (
            f"{name} is {escape(status.base or '')}: UniID works with {escape(titles(registry.bases()))} "
            "checkpoints only; select another checkpoint."
        )
    return f"{method} with {name}, {escape(status.base or '')} &middot; {enrolled}."


def files(status: Status) -> str:
    """A table of the missing files: the source and the target folder of each."""
    unused = [
        f"{escape(name)} in the same folder is {escape(kind)}, and not used" for name, kind in status.unused
    ]
    unused_note = _box("note", "<br>".join(unused)) if unused else ""
    if not status.missing:
        return _box("good", "No model files are missing.") + unused_note
    rows = "".join(_row(one) for one in status.missing)
    head = "<tr><th>file</th><th>for</th><th>from</th><th>goes into</th><th>licence</th></tr>"
    return (
        f'<table class="uniid-files">{head}{rows}</table>'
        "<p>A file can be anywhere below the models folder, under any name: it is identified by its "
        "content. Press <i>Refresh</i> after you add a file.</p>" + unused_note
    )


def download(name: str, done: int, size: int | None) -> str:
    """The progress of a download; ``done`` and ``size`` are in bytes."""
    share = 100 * done / size if size else 0
    count = f"{done / 1e6:.0f} MB" + (f" of {size / 1e6:.0f} MB" if size else "")
    bar = f'<div class="uniid-bar"><div style="width: {share:.0f}%"></div></div>'
    return _box("note", f"downloading {escape(name)} &middot; {count}{bar}")


def _row(one: Missing) -> str:
    optional = "" if one.needed else "<br><small>optional</small>"
    problem = f"<br><small>found, but {escape(one.problem)}</small>" if one.problem else ""
    return (
        f"<tr><td>{escape(one.file)}{problem}</td><td>{escape(one.purpose)}{optional}</td>"
        f"<td>{escape(one.source)}</td><td><code>{escape(one.folder)}</code></td>"
        f"<td>{escape(one.licence)}</td></tr>"
    )


def problem(sentence: str) -> str:
    """An error message."""
    return _box("bad", escape(sentence))


def failure(error: BaseException) -> str:
    """The message of any exception, also of an unexpected one."""
    return problem(explain(error, "the panel"))


def notes(sentences: Sequence[str]) -> str:
    """A box of notes; empty without notes."""
    return _box("note", "<br>".join(map(escape, sentences))) if sentences else ""


def _box(kind: str, html: str) -> str:
    return f'<div class="uniid-box uniid-{kind}">{html}</div>'


def progress(words: Sequence[str], step: int, steps: int) -> str:
    """The progress of a generation."""
    share = 100 * step / steps if steps else 0
    count = f" &middot; step {step} of {steps}" if steps else ""
    bar = f'<div class="uniid-bar"><div style="width: {share:.0f}%"></div></div>'
    return _box("note", f"{'; '.join(map(escape, words))} ...{count}{bar}")


def result(sentences: Sequence[str]) -> str:
    """A success message."""
    return _box("good", "<br>".join(map(escape, sentences or ["done"])))


def checked(verdicts: Sequence[Verdict]) -> str:
    """The verdicts of the check; the colour shows the likeness."""
    return "".join(_box(one.kind, escape(one.sentence)) for one in verdicts)


def rough(pictures: Sequence[Any]) -> str:
    """Previews side by side."""
    images = "".join(f'<img alt="preview" src="{_embedded(one)}">' for one in pictures)
    return f'<div class="uniid-rough">{images}</div>' if pictures else ""


def _embedded(pixels: Any, side: int | None = None) -> str:
    """A picture as a data URL."""
    from PIL import Image

    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    if side is not None:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    picture.save(buffer, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def tab_look(button: str, name: str, face: Crop | None, *, on: bool) -> str:
    """A style that shows a person's name and face on the button of a tab, under all versions of gradio.

    ``button`` is a CSS selector. The name is written as hexadecimal escapes only.
    """
    rules = ["display: inline-flex; align-items: center;", *([] if on else ["opacity: 0.5;"])]
    if face is not None:
        rules.append(f"background: url({_embedded(face, 2 * ICON)}) 6px center / {ICON}px no-repeat;")
        rules.append(f"padding-left: {ICON + 12}px;")
    content = "".join(f"\\{ord(letter):x} " for letter in shortened(name, 24))
    named = f'{button}::before {{ content: ": {content}"; white-space: pre; order: 1; }}' if name else ""
    if not name and face is None:
        return ""
    return f"<style>{button} {{ {' '.join(rules)} }} {named}</style>"


# --- faces ---


def picked(uploads: Sequence[Upload], number: int, face: int) -> list[Upload]:
    """The same uploads with ``face`` (from 1) chosen in the picture of this number (from 0)."""
    return [replace(one, face=face) if place == number else one for place, one in enumerate(uploads)]


def open_choices(uploads: Sequence[Upload]) -> list[str]:
    """One sentence for each picture in which the user must still choose a face."""
    return [
        f"{one.name} shows {one.faces} faces; click the face of this person"
        for one in uploads
        if one.faces > 1 and one.face is None
    ]


def caption(upload: Upload, face: int) -> str:
    """The caption of a face; ``javascript/uniid.js`` makes it the accessible name of the face's button."""
    mark = "\u2713 " if upload.face == face else ""
    number = f" {face} of {upload.faces}" if upload.faces > 1 else ""
    return f"{mark}Face{number} in {upload.name}"


def tile(crop: Crop, *, chosen: bool) -> Any:
    """A face as a picture: framed if it is chosen, darker if not."""
    from PIL import Image, ImageEnhance, ImageOps

    picture = Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    if not chosen:
        return ImageEnhance.Brightness(picture).enhance(DIM)
    inner = picture.resize((SIDE - 2 * FRAME, SIDE - 2 * FRAME), Image.Resampling.LANCZOS)
    return ImageOps.expand(inner, FRAME, CHOSEN)
