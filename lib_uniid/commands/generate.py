"""``uniid generate``: make pictures of people, check who is in them, and write them."""

import re
import secrets
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from lib_uniid.commands import Outcome
from lib_uniid.commands.shared import bar, library, reference, studio
from lib_uniid.config import MAX_SEED, STYLE_STRENGTH, GenerationSettings, PersonSettings, StyleSettings
from lib_uniid.errors import ConfigError
from lib_uniid.evaluation.overlay import draw_routing
from lib_uniid.faces.picture import load_mask, load_picture
from lib_uniid.hosts.saving import save, write_png
from lib_uniid.library.names import normal
from lib_uniid.library.store import Person
from lib_uniid.pipeline import Made, Reference, Studio

NUMBERS = {"weight": "weight", "structure": "structure_scale", "start": "start", "end": "end"}
"""Options that name a person or mean everybody, and the settings that they stand for."""


def run(options: Namespace) -> Outcome:
    begun = time.monotonic()
    asked = dict(_name_and_picture(text) for text in options.person)
    if len(asked) < len(options.person):
        raise ConfigError("a person is named twice; name each person once per picture")
    settings = _settings(options, tuple(asked))
    start = None if options.start_picture is None else load_picture(options.start_picture)
    references = {name: reference(picture) for name, picture in asked.items() if picture}
    work = studio(options)
    people = _people(settings, references, work, options)
    with bar("making pictures") as progress:
        made = work.generate(settings, people, start=start, progress=progress)
    notes = _notes(settings, work)
    pictures = [_write(one, settings, options) for one in made]
    seconds = round(time.monotonic() - begun, 1)
    result: dict[str, Any] = {"pictures": pictures, "notes": notes, "seconds": seconds}
    if style := settings.style:
        result["style"] = {"sha256": style.sha256, "strength": style.strength}
    words = [line for picture in pictures for line in _in_words(picture)]
    return Outcome(result=result, words=[*words, *notes])


def _name_and_picture(text: str) -> tuple[str, str]:
    name, _, picture = text.partition("=")
    return normal(name), picture


def _settings(options: Namespace, names: Sequence[str]) -> GenerationSettings:
    allowed = {field.name for field in fields(GenerationSettings)}
    given: dict[str, Any] = {name: value for name, value in vars(options).items() if name in allowed}
    given.setdefault("seed", secrets.randbelow(MAX_SEED + 1))
    return GenerationSettings(people=_person_settings(options, names), style=_style(options), **given)


def _style(options: Namespace) -> StyleSettings | None:
    strength = options.style_strength
    if options.style_from is None:
        if strength is not None:
            raise ConfigError("--style-strength needs the picture whose style is taken; add --style-from")
        return None
    picture = load_picture(options.style_from)
    return StyleSettings(picture=picture, strength=STYLE_STRENGTH if strength is None else strength)


def _person_settings(options: Namespace, names: Sequence[str]) -> tuple[PersonSettings, ...]:
    given: dict[str, dict[str, Any]] = {name: {} for name in names}
    for option, setting in NUMBERS.items():
        for text in getattr(options, option):
            name, _, number = text.rpartition("=")
            name = normal(name)
            for one in [_known(name, names, option)] if name else names:
                given[one][setting] = _number(number, option)
    for text in options.mask:
        name, picture = _name_and_picture(text)
        given[_known(name, names, "mask")]["mask"] = _mask(Path(picture))
    for text in options.mix:
        name, other, share = _mix(text)
        mixes = given[_known(name, names, "mix")]
        mixes["mix"] = (*mixes.get("mix", ()), (other, share))
    return tuple(PersonSettings(name=name, **settings) for name, settings in given.items())


def _known(name: str, names: Sequence[str], option: str) -> str:
    if name not in names:
        raise ConfigError(f"--{option} names {name!r}, who is not in the picture; add --person {name}")
    return name


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--{option} takes NUMBER or NAME=NUMBER, got {text!r}") from None


def _mix(text: str) -> tuple[str, str, float]:
    parts = re.fullmatch(r"([^=]+)=(.+):([^:]+)", text)
    if parts is None:
        raise ConfigError(f"--mix takes NAME=OTHER:SHARE, such as Anna=Ben:0.3, got {text!r}")
    return normal(parts[1]), normal(parts[2]), _number(parts[3], "mix")


def _mask(path: Path) -> np.ndarray:
    return load_mask(path)


def _people(
    settings: GenerationSettings, references: dict[str, Reference], work: Studio, options: Namespace
) -> dict[str, Person]:
    """Everybody whom the settings name: from the pictures given, or else from the library."""
    names = {name for person in settings.people for name in (person.name, *dict(person.mix))}
    people: dict[str, Person] = {}
    for name in sorted(names):
        if name in references:
            people[name], _ = work.enrol(name, [references[name]])
        else:
            people[name] = library(options).load(name)
    return people


def _notes(settings: GenerationSettings, work: Studio) -> list[str]:
    plain = "the model's plain picture" + (" in that style" if settings.style else "")
    notes = [] if settings.people else [f"nobody was named with --person, so this is {plain}"]
    notes += [note for person in settings.people for note in person.notes]
    if unread := work.host.overlong(settings.prompt):
        notes.append(f"the prompt is too long, its end is not read: {unread}")
    return notes


def _write(made: Made, settings: GenerationSettings, options: Namespace) -> dict[str, Any]:
    path = save(made, settings, options.out)
    result: dict[str, Any] = {"path": str(path), "seed": made.seed, **_presence(made)}
    if options.maps and made.routing is not None:
        overlay = path.with_suffix(".routing.png")
        write_png(overlay, draw_routing(made.picture, made.routing))
        result["routing"] = str(overlay)
    return result


def _presence(made: Made) -> dict[str, Any]:
    presence = made.presence
    return {
        "people": [asdict(person) for person in presence.people],
        "missing": list(presence.missing),
        "doubled": list(presence.doubled),
        "unknown": list(presence.unknown),
        "complete": presence.complete,
    }


def _in_words(picture: dict[str, Any]) -> list[str]:
    words = [f"{picture['path']} (seed {picture['seed']})"]
    for person in picture["people"]:
        similarity = "" if person["similarity"] is None else f", similarity {person['similarity']:.2f}"
        absent = "missing" if person["unchecked"] is None else f"not checked: {person['unchecked']}"
        state = absent if person["face"] is None else f"face {person['face']}"
        doubles = f", again as face {', '.join(map(str, person['doubles']))}" if person["doubles"] else ""
        words.append(f"  {person['name']}: {state}{similarity}{doubles}")
    if picture["unknown"]:
        words.append(f"  nobody asked for: face {', '.join(map(str, picture['unknown']))}")
    return words
