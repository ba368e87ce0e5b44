"""Tests of words of one person, from the request to the picture, on narrow networks with random weights."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_uniid.api.infotext import describe
from lib_uniid.api.request import parse, parse_json, to_dict
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.words import WordsBranch
from lib_uniid.commands.options import parser
from lib_uniid.commands.settings import arguments_of
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.errors import ConfigError
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Identity
from lib_uniid.pipeline import Reference, Studio
from tests.device import DEVICE
from tests.red_faces import red_face_picture
from tests.standalone import needs_standalone_host

LEFT, RIGHT = np.zeros((16, 16), dtype=np.float32), np.zeros((16, 16), dtype=np.float32)
LEFT[:, :8], RIGHT[:, 8:] = 1.0, 1.0
PICTURE = GenerationSettings(prompt="two people in a park", steps=2, cfg_scale=3.0, width=128, height=128)
WORDS = "a red coat"


@pytest.fixture(scope="module")
def studio(models: Path) -> Studio:
    return open_studio(models, device=DEVICE)


@pytest.fixture(scope="module")
def people(studio: Studio) -> dict[str, Identity]:
    reference = Reference(picture=red_face_picture((64, 64)), label="one")
    anna, _ = studio.enrol("Anna", [reference])
    return {"Anna": anna, "Ben": replace(anna, name="Ben")}


def picture(studio: Studio, people: dict[str, Identity], *who: PersonSettings, **changes: Any) -> np.ndarray:
    (made,) = studio.generate(replace(PICTURE, people=who, **changes), people)
    return made.picture


def of_anna(**settings: Any) -> PersonSettings:
    return PersonSettings(name="Anna", **settings)


def of_ben(**settings: Any) -> PersonSettings:
    return PersonSettings(name="Ben", **settings)


def branches(plan: Plan | None) -> list[WordsBranch]:
    assert plan is not None
    return [one for site in plan.branches.values() for one in site if isinstance(one, WordsBranch)]


@needs_standalone_host
def test_the_words_of_the_only_person_are_words_of_the_picture(studio: Studio, people: dict[str, Identity]):
    one = picture(studio, people, of_anna(prompt=WORDS))
    assert np.array_equal(one, picture(studio, people, of_anna(), prompt=f"{PICTURE.prompt}, {WORDS}"))
    assert not np.array_equal(one, picture(studio, people, of_anna()))


@needs_standalone_host
@pytest.mark.parametrize("masks", [(None, None), (LEFT, None), (LEFT, RIGHT)])
def test_words_change_a_picture_of_two_and_empty_ones_no_bit(
    studio: Studio, people: dict[str, Identity], masks: tuple[Any, Any]
):
    anna, ben = of_anna(mask=masks[0]), of_ben(mask=masks[1])
    without = picture(studio, people, anna, ben)
    assert np.array_equal(without, picture(studio, people, replace(anna, prompt=" "), ben))
    with_words = picture(studio, people, replace(anna, prompt=WORDS), ben)
    assert not np.array_equal(without, with_words)
    assert np.array_equal(with_words, picture(studio, people, replace(anna, prompt=WORDS), ben))
    assert np.array_equal(without, picture(studio, people, anna, ben))


@needs_standalone_host
def test_the_places_of_a_person_read_the_prompt_and_the_own_words(
    studio: Studio, people: dict[str, Identity]
):
    settings = replace(PICTURE, people=(of_anna(), of_ben(prompt=WORDS)))
    own = {id(one.own): one.own for one in branches(studio.plan(settings, people))}
    (only,) = own.values()
    ((words),) = only.words
    assert words.person == 1
    assert torch.equal(words.states, studio.host.encode([f"{PICTURE.prompt}, {WORDS}"]))
    assert branches(studio.plan(replace(PICTURE, people=(of_anna(), of_ben())), people)) == []


@needs_standalone_host
def test_a_host_without_text_encoders_refuses_own_words(studio: Studio, people: dict[str, Identity]):
    from lib_uniid.attention.plan import PlanOptions

    options = PlanOptions(routing="auto", latent_size=(16, 16))
    sites = studio._sites  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ConfigError, match="Ben: own words need the host's text encoders"):
        studio.plan_for(sites, [of_anna(), of_ben(prompt=WORDS)], people, options)


def request(prompt: Any) -> Any:
    return {"version": 1, "people": [{"name": "Anna", "prompt": prompt}, {"name": "Ben"}]}


def test_words_go_through_request_and_infotext_unchanged():
    words = 'red coat, (playing the "guitar":1.2), Ärmel, {a|b}'
    read = parse(request(words))
    assert read.people[0].prompt == words
    assert parse_json(json.dumps(to_dict(read))) == read
    known = replace(read, people=tuple(replace(one, id=one.name) for one in read.people))
    assert parse_json(describe(known, {"Anna": "0" * 12, "Ben": "1" * 12})).people[0].prompt == words
    assert "prompt" not in to_dict(parse(request("")))["people"][0]


@pytest.mark.parametrize(
    "wrong", ["red\ncoat", "a\0b", "\x1b[31m", "\ud800", "x" * 1001, 3, None, ["red coat"]]
)
def test_other_than_one_line_of_text_is_refused(wrong: Any):
    with pytest.raises(ConfigError, match=r"^people\[0\].prompt must be a text"):
        parse(request(wrong))
    if isinstance(wrong, str):
        with pytest.raises(ConfigError, match=r"^Anna: own words must be a text of at most 1000 characters"):
            of_anna(prompt=wrong)


def test_the_command_line_takes_words_by_name():
    line = ["generate", "a park", "--person", "Anna", "--person", "Ben", "--words", "Ben=red coat = warm"]
    anna, ben = arguments_of(parser().parse_args(line, Namespace())).settings.people
    assert (anna.prompt, ben.prompt) == ("", "red coat = warm")
    for wrong, message in (("Chloe=hat", "names 'Chloe'"), ("hat", "takes NAME=TEXT")):
        with pytest.raises(ConfigError, match=message):
            arguments_of(parser().parse_args([*line, "--words", wrong], Namespace()))
