"""Tests of words of one person, from the request to the picture, on narrow networks with random weights."""

import json
from argparse import Namespace
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_uniid.api.infotext import describe
from lib_uniid.api.request import parse, parse_json, to_dict
from lib_uniid.attention.context import PreparedText
from lib_uniid.attention.deciding import UNTRAINED
from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.rows import Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.attention.words import WordsBranch, with_own_words
from lib_uniid.commands.options import parser
from lib_uniid.commands.settings import arguments_of
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.errors import ConfigError
from lib_uniid.host import SamplingOptions
from lib_uniid.hosts.diffusers.host import DiffusersHost
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Identity
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from lib_uniid.pipeline import Reference, Studio
from tests import narrow_xl
from tests.attention.builders import null_tokens, random_adapter, small_pair
from tests.attention.builders import people as crowd
from tests.attention.pairs import HALVES, attend_to, drawn, pair_plan
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


# --- SDXL, and changes of each person's text ---


@needs_standalone_host
def test_words_and_routing_without_training_work_on_the_host_with_sdxl(tmp_path: Path):
    host = DiffusersHost.load(narrow_xl.write_checkpoint(tmp_path), torch.device("cpu"), torch.float32)
    sites, context = find_sites(host.unet), narrow_xl.TEXT_WIDTH + narrow_xl.TEXT_WIDTH_2
    how = PlanSettings(trained=False, deciding=UNTRAINED, latent_size=(16, 16), lora_scale=0.0)
    settings = replace(PICTURE, pictures=2)

    def sampled(*words: str) -> torch.Tensor:
        rows = Rows(())
        with torch.no_grad():
            plan = build(random_adapter(sites), sites, crowd(2, context), null_tokens(context), how)
        assert plan is not None
        plan = with_own_words(plan, sites, {"Anna": words[0], "Ben": words[1]}, [PICTURE.prompt], host.encode)
        with injected(sites, plan, rows) as calls:
            latents = host.sample(settings, [1, 2], SamplingOptions(rows=rows))
        calls.require()
        return latents

    plain, spoken = sampled("", ""), sampled("", WORDS)
    assert plain.isfinite().all()
    assert (plain - spoken).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    assert torch.equal(sampled("", ""), plain)


@dataclass(frozen=True)
class Plus:
    """A change that adds a number to the states."""

    number: float
    tokens = 0

    def state(self, progress: float) -> Hashable:
        return self.number

    def prepare(self, state: Hashable, text: torch.Tensor, rows: Rows) -> PreparedText:
        return lambda text, rows: text + self.number


def test_with_a_change_for_each_person_everybody_reads_a_text_of_their_own():
    pair = small_pair()
    how = PlanSettings(latent_size=(8, 8), id_scale=0.0, lora_scale=0.0)
    plan = pair_plan(drawn(), how)
    assert plan is not None
    read: list[str] = []

    def encode(texts: Sequence[str]) -> torch.Tensor:
        read.extend(texts)
        return torch.zeros(len(texts), 5, 6)

    changed = replace(plan, contexts=(Plus(1.0), Plus(-2.0)))
    changed = with_own_words(changed, pair.sites, {"Anna": "", "Ben": WORDS}, ["a park"], encode)
    assert read == ["a park", f"a park, {WORDS}"]
    with torch.no_grad():
        expected = [
            pair.cross_attention(torch.zeros(1, 64, 8), torch.full((1, 5, 6), number))
            for number in (1.0, -2.0)
        ]
    out = attend_to(changed, progress=0.5)[1]  # after the first steps, in which words count more
    for half, one in zip(HALVES, expected, strict=True):
        torch.testing.assert_close(out[half.flatten().bool()], one[0, half.flatten().bool()])
