"""The arguments of ``uniid generate``, from its options; imports nothing heavy."""

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lib_uniid.commands.inputs import (
    GivenPicture,
    Picture,
    declared_method,
    given_picture,
    mask,
    named,
    number,
    picture,
)
from lib_uniid.config import RANDOM_SEED, GenerationSettings, PersonSettings, StyleSettings, drawn_seed
from lib_uniid.errors import ConfigError
from lib_uniid.fields.generation import GENERATION
from lib_uniid.fields.person import PERSON
from lib_uniid.fields.rows import numbers
from lib_uniid.library.names import normal

NUMBERS = {row.flag: row.name for row in numbers(PERSON, "option")}
"""Options for one person or for all, and their settings."""

FOR_PEOPLE = (
    *NUMBERS,
    "mix",
    "mask",
    "words",
    "preset",
    *(row.flag for row in GENERATION.values() if row.of_people),
)
"""Options that have no effect without people."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GenerateArguments:
    """Settings, the start picture, and by name the pictures of people who are not enrolled."""

    settings: GenerationSettings
    start: Picture | None
    pictures: dict[str, GivenPicture]


def arguments_of(options: Namespace) -> GenerateArguments:
    """The checked arguments; ``ConfigError`` or ``PictureError`` names the option or file that is wrong."""
    people = _people(options.person)
    _refuse_ineffective(options, people)
    pictures = {name: given_picture(text, f"--person {name}") for name, text in people.items() if text}
    start = None if options.start_picture is None else picture(options.start_picture, "--from")
    return GenerateArguments(settings=_settings(options, tuple(people)), start=start, pictures=pictures)


def _people(texts: Sequence[str]) -> dict[str, str]:
    """Pictures by name; an empty text for an enrolled person."""
    people: dict[str, str] = {}
    for text in texts:
        name, given, value = text.partition("=")
        name = normal(name)
        if not name or (given and not value):
            raise ConfigError(f"--person takes NAME or NAME=PICTURE, got {text!r}")
        if name in people:
            raise ConfigError(f"{name!r} is named twice; name each person once per picture")
        people[name] = value
    return people


def _refuse_ineffective(options: Namespace, people: dict[str, str]) -> None:
    """Raise ``ConfigError`` for options that have no effect."""
    idle = [option for option in FOR_PEOPLE if _given(options, option)]
    if idle and not people:
        raise ConfigError(f"--{idle[0]} needs a person; add --person NAME, or leave it out")
    if options.maps and len(people) < 2:
        raise ConfigError(f"--maps needs two people or more, got {len(people)}; add --person or leave it out")
    if hasattr(options, "strength") and options.start_picture is None:
        raise ConfigError("--strength needs a start picture; add --from PICTURE, or leave it out")


def _settings(options: Namespace, names: Sequence[str]) -> GenerationSettings:
    allowed = {field.name for field in fields(GenerationSettings)}
    given: dict[str, Any] = {name: value for name, value in vars(options).items() if name in allowed}
    given = {**_of_preset(options), **given}
    given["seed"] = drawn_seed(given.get("seed", RANDOM_SEED))
    return GenerationSettings(people=_person_settings(options, names), style=_style(options), **given)


def _of_preset(options: Namespace) -> Mapping[str, float]:
    """The numbers of a preset of the method; options that are given beside it win."""
    if options.preset is None:
        return {}
    return declared_method(options, getattr(options, "method", None)).preset(options.preset).numbers


def _style(options: Namespace) -> StyleSettings | None:
    given: dict[str, Any] = {}
    if hasattr(options, "style_strength"):
        given["strength"] = options.style_strength
    if options.style_from is not None:
        return StyleSettings(picture=picture(options.style_from, "--style-from"), **given)
    if given:
        raise ConfigError(
            "--style-strength needs a style reference; add --style-from PICTURE, or leave it out"
        )
    return None


def _person_settings(options: Namespace, names: Sequence[str]) -> tuple[PersonSettings, ...]:
    given: dict[str, dict[str, Any]] = {name: {} for name in names}
    for option, setting in NUMBERS.items():
        for text in _given(options, option):
            name, _, value = text.rpartition("=")
            for one in [_known(normal(name), names, option)] if name else names:
                given[one][setting] = number(value, option)
    for text in options.mask:
        name, file = named(text, "mask", "NAME=PICTURE")
        given[_known(name, names, "mask")]["mask"] = mask(file, "--mask")
    for text in options.words:
        name, words = named(text, "words", "NAME=TEXT")
        given[_known(name, names, "words")]["prompt"] = words
    for text in options.mix:
        name, other, share = _mix(text)
        mixes = given[_known(name, names, "mix")]
        mixes["mix"] = (*mixes.get("mix", ()), (other, share))
    return tuple(PersonSettings(name=name, **settings) for name, settings in given.items())


def _given(options: Namespace, option: str) -> Any:
    """The value of an option; None if it was not given."""
    return getattr(options, option.replace("-", "_"), None)


def _known(name: str, names: Sequence[str], option: str) -> str:
    if name not in names:
        raise ConfigError(
            f"--{option} names {name!r}, who is not among the people of the picture; add --person {name}"
        )
    return name


def _mix(text: str) -> tuple[str, str, float]:
    parts = re.fullmatch(r"([^=]+)=(.+):([^:]+)", text)
    if parts is None:
        raise ConfigError(f"--mix takes NAME=OTHER:SHARE, such as Anna=Ben:0.3, got {text!r}")
    return normal(parts[1]), normal(parts[2]), number(parts[3], "mix")
