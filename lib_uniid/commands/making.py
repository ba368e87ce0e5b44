"""The part of ``uniid generate`` that loads and runs the networks."""

import time
from argparse import Namespace
from dataclasses import asdict
from typing import Any

from lib_uniid.attention.words import joined
from lib_uniid.commands import Outcome
from lib_uniid.commands.bars import bar
from lib_uniid.commands.settings import GenerateArguments
from lib_uniid.commands.shared import explaining_choice, library, reference, studio
from lib_uniid.config import GenerationSettings
from lib_uniid.hosts.diffusers.saving import Saver
from lib_uniid.library.store import Identity
from lib_uniid.pipeline import GeneratedPicture, Studio

INTERRUPTED = 130


def make(arguments: GenerateArguments, options: Namespace, begun: float) -> Outcome:
    """Generate the pictures; each is written as soon as it is finished.

    After an interruption or a failure, finished pictures are kept and their paths are printed.
    """
    settings, enrolled = arguments.settings, _enrolled(arguments, options)
    work = studio(options)
    people = enrolled | _new(arguments, work)
    writer = _Writer(settings, options)
    interrupted, told = False, list[str]()
    try:
        with bar("generating pictures") as progress:
            work.generate(
                settings,
                people,
                start=arguments.start,
                progress=progress,
                on_picture=writer.take,
                on_note=told.append,
            )
    except BaseException as error:
        writer.write_rest()
        if not writer.written or not isinstance(error, KeyboardInterrupt):
            writer.print_kept()
            raise
        interrupted = True
    notes = [*_notes(settings, work), *told, *writer.notes]
    return _outcome(writer, settings, notes, begun, interrupted=interrupted)


def _outcome(
    writer: "_Writer", settings: GenerationSettings, notes: list[str], begun: float, *, interrupted: bool
) -> Outcome:
    pictures = [picture for _, picture in sorted(writer.written.items())]
    if interrupted:
        notes.append(f"interrupted: {len(pictures)} of {settings.pictures} pictures are finished and kept")
    result: dict[str, Any] = {
        "pictures": pictures,
        "notes": notes,
        "seconds": round(time.monotonic() - begun, 1),
    }
    if interrupted:
        result["interrupted"] = True
    if style := settings.style:
        result["style"] = {"sha256": style.sha256, "strength": style.strength}
    words = [line for picture in pictures for line in _in_words(picture)]
    return Outcome(result=result, words=[*words, *notes], code=INTERRUPTED if interrupted else 0)


def _enrolled(arguments: GenerateArguments, options: Namespace) -> dict[str, Identity]:
    """The people of the settings that are given without a picture, from the library."""
    names = {name for person in arguments.settings.people for name in (person.name, *dict(person.mix))}
    return {name: library(options).load(name) for name in sorted(names - arguments.pictures.keys())}


def _new(arguments: GenerateArguments, work: Studio) -> dict[str, Identity]:
    """The people that are given by a picture."""
    with explaining_choice():
        return {
            name: work.enrol(name, [reference(given)], method=arguments.settings.method)[0]
            for name, given in arguments.pictures.items()
        }


def _notes(settings: GenerationSettings, work: Studio) -> list[str]:
    plain = "a picture without identities" + (" in that style" if settings.style else "")
    notes = [] if settings.people else [f"no --person was given: this is {plain}"]
    notes += [note for person in settings.people for note in person.notes]
    prompts = {"prompt": settings.prompt, "negative prompt": settings.negative_prompt} | {
        f"prompt with the own words of {one.name}": joined(settings.prompt, one.prompt)
        for one in settings.people
        if one.prompt.strip()
    }
    unread = {what: work.host.overlong(prompt) for what, prompt in prompts.items()}
    notes += [f"the {what} is too long; its end is ignored: {end}" for what, end in unread.items() if end]
    return notes


class _Writer:
    """Writes each finished picture, and at the end those that a retry might have improved."""

    def __init__(self, settings: GenerationSettings, options: Namespace) -> None:
        self.written: dict[int, dict[str, Any]] = {}
        self._settings, self._options, self._saver = settings, options, Saver(options.out)
        self._waiting: dict[int, GeneratedPicture] = {}

    @property
    def notes(self) -> list[str]:
        """Notes about the output folder."""
        return self._saver.notes

    def take(self, number: int, made: GeneratedPicture, final: bool) -> None:
        """Receive picture ``number`` of the series; ``final`` unless further seeds are tried for it."""
        self._waiting[number] = made
        if final:
            self.write_rest([number])

    def write_rest(self, numbers: list[int] | None = None) -> None:
        for number in sorted(self._waiting) if numbers is None else numbers:
            self.written[number] = self._write(self._waiting.pop(number))

    def print_kept(self) -> None:
        for _, picture in sorted(self.written.items()):
            self._options.say(f"finished and kept: {picture['path']}")

    def _write(self, made: GeneratedPicture) -> dict[str, Any]:
        path = self._saver.save(made, self._settings)
        result: dict[str, Any] = {"path": str(path), "seed": made.seed, **_presence(made)}
        if self._options.maps and (overlay := self._saver.save_overlay(path, made)):
            result["routing"] = str(overlay)
        return result


def _presence(made: GeneratedPicture) -> dict[str, Any]:
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
        words.append(f"  unknown: face {', '.join(map(str, picture['unknown']))}")
    return words
