"""Tests of words of one person in the WebUIs: their text models, prompts and batches."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_uniid.config import PersonSettings
from lib_uniid.errors import ConfigError
from lib_uniid.hosts.webui.own_words import prompts_of
from tests.hosts.webui.asking import LEFT, RIGHT, ask, person
from tests.hosts.webui.conftest import Start
from tests.hosts.webui.standin.script_api import schedules
from tests.hosts.webui.watching import ROUNDING, Traceless, any_host, latents
from tests.near import assert_near

KINDS = ("a1111", "forge")
DRAWN = (person("Anna", mask=LEFT, prompt="a red coat"), person("Ben", mask=RIGHT))
ROUTED = (person("Anna", prompt="a red coat"), person("Ben", prompt="a hat"))


def without_words(*people: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple({**one, "prompt": ""} for one in people)


@pytest.mark.parametrize("prompt", ["a park", "a park AND a lake"])
def test_the_hosts_agree_on_words_in_masks(start: Start, prompt: str):
    made = [
        latents(start(kind).txt2img(prompt=prompt, batch_size=2, alwayson_scripts=ask(*DRAWN)))
        for kind in KINDS
    ]
    assert_near(made[0], made[1], within=ROUNDING * float(made[0].abs().max()))
    plain = start("a1111").txt2img(prompt=prompt, batch_size=2, alwayson_scripts=ask(*without_words(*DRAWN)))
    assert (latents(plain) - made[0]).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_words_count_where_the_router_decides_and_leave_no_trace(start: Start, kind: str):
    webui = start(kind)
    traceless = Traceless(webui)
    with_words, without = (
        latents(webui.txt2img(alwayson_scripts=ask(*people))) for people in (ROUTED, without_words(*ROUTED))
    )
    assert not torch.allclose(with_words, without, atol=1e-3)
    traceless.check()
    assert torch.equal(latents(webui.txt2img(alwayson_scripts=ask(*ROUTED))), with_words)
    assert webui.raised == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_only_person_has_the_words_everywhere(start: Start, kind: str):
    webui = start(kind)
    one = latents(webui.txt2img(alwayson_scripts=ask(person("Anna", prompt="a red coat"))))
    assert not torch.allclose(one, latents(webui.txt2img(alwayson_scripts=ask(person("Anna")))), atol=1e-3)


def test_words_are_read_with_the_prompt_of_the_pass_and_once_for_each(start: Start):
    webui, read = start("a1111"), list[list[str]]()
    model = any_host(webui).sd_model
    inner = model.get_learned_conditioning

    def reading(texts: list[str]) -> Any:
        read.append(texts)
        return inner(texts)

    model.get_learned_conditioning = reading
    webui.txt2img(prompt="a park", n_iter=2, alwayson_scripts=ask(*ROUTED))
    assert read == [["a park, a red coat", "a park, a hat"]]


@pytest.mark.parametrize("kind", KINDS)
def test_words_that_would_load_a_network_are_refused(start: Start, kind: str):
    failed = start(kind).txt2img(alwayson_scripts=ask(person("Anna", prompt="hat <lora:x:1>"), person("Ben")))
    assert "Anna: own words cannot load a network: put <lora:x:1>" in failed.error


SPOKEN = (PersonSettings(name="Anna", prompt="a hat"),)


def asked(
    *prompts: str, monkeypatch: pytest.MonkeyPatch, people: Sequence[PersonSettings] = SPOKEN, **more: Any
) -> tuple[str, ...]:
    parser = SimpleNamespace(get_learned_conditioning_prompt_schedules=schedules)
    monkeypatch.setattr(
        "lib_uniid.hosts.webui.own_words.import_module", {"modules.prompt_parser": parser}.get
    )
    values = {"prompts": [*prompts], "is_hr_pass": False, "steps": 10} | more
    return prompts_of(SimpleNamespace(**values), people)


def test_of_a_prompt_that_changes_the_words_go_with_the_first(monkeypatch: pytest.MonkeyPatch):
    assert asked("a [dog:cat:0.5] runs", monkeypatch=monkeypatch) == ("a dog runs",)
    assert asked("a dog :1.2 AND a cat :0.8", monkeypatch=monkeypatch) == ("a dog",)
    assert asked("time: 12", monkeypatch=monkeypatch) == ("time: 12",)


def test_pictures_of_one_prompt_have_one_text_and_others_their_own(monkeypatch: pytest.MonkeyPatch):
    assert asked("a", "a", monkeypatch=monkeypatch) == ("a",)
    assert asked("a", "b", monkeypatch=monkeypatch) == ("a", "b")
    assert asked("a", is_hr_pass=True, hr_prompts=["big"], monkeypatch=monkeypatch) == ("big",)
    with pytest.raises(ConfigError, match="joined by AND that differ"):
        asked("a AND b", "c AND b", monkeypatch=monkeypatch)


def test_without_own_words_no_prompt_is_read():
    assert prompts_of(SimpleNamespace(), [PersonSettings(name="Anna")]) == ()
