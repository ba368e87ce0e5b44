"""Methods and hooks of plugins in a WebUI: failures are named, and each batch is announced once."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_uniid.api import v1
from lib_uniid.bases import SDXL
from lib_uniid.library.store import Library
from tests.encoders import flat
from tests.encoders.flat import FlatPlugin
from tests.hosts.webui.asking import ask, person
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import Traceless, any_host, latents
from tests.methods.toy import NAME, ToyPlugin

ANNA, TOY = ask(person()), ask(person(), method=NAME)
OFF = "the plugin odd is switched off until restart: "


pytestmark = pytest.mark.usefixtures("own_plugins")


def fail(*_: Any) -> Any:
    raise ValueError("a wrong number")


def allowing(fallback: str) -> dict[str, Any]:
    return ask(person(), method=NAME, fallback=fallback)


# --- methods ---


@pytest.mark.parametrize("fallback", ["fail", "plain"])
def test_a_method_that_raises_in_the_unet_fails_the_generation_and_is_named(webui: WebUI, fallback: str):
    plain = Traceless(webui)
    v1.register(ToyPlugin(amount=fail), name="odd")
    failed = webui.txt2img(alwayson_scripts=allowing(fallback))
    assert (failed.status, failed.images) == (500, [])
    assert f"{OFF}injecting identities raised ValueError: a wrong number" in failed.error
    plain.check()
    again = webui.txt2img(alwayson_scripts=allowing(fallback))
    assert again.status == 500  # no method has the name
    assert f"got 'Toy'; {OFF}" in again.error
    assert webui.txt2img(alwayson_scripts=ANNA).status == 200


@pytest.mark.parametrize("fallback", ["fail", "plain"])
def test_a_method_that_raises_while_planning_follows_the_request(webui: WebUI, fallback: str):
    plain = Traceless(webui)
    toy = ToyPlugin()
    toy._open = lambda *_: SimpleNamespace(plan=lambda *_: 3)  # pyright: ignore
    v1.register(toy, name="odd")
    answer = webui.txt2img(seed=5, alwayson_scripts=allowing(fallback))
    sentence = f"{OFF}planning with Toy raised TypeError: int instead of Plan"
    if fallback == "fail":
        assert answer.status == 500
        assert sentence in answer.error
    else:
        assert torch.equal(latents(answer), plain.picture)
        assert answer.comments[0].startswith(f"UniID: Identities not applied: {sentence}")
    plain.check()


@pytest.mark.parametrize("writable", [True, False])
def test_a_person_enrolled_for_another_method_gets_features_from_the_crops(
    webui: WebUI, webui_models: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
):
    v1.register(FlatPlugin(), name="flat")
    v1.register(ToyPlugin(encoder=flat.NAME), name="toy")
    library = Library(folder=webui_models / "uniid" / "library")
    file = library.load("Anna").file
    assert file is not None
    before = file.read_bytes()

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    if not writable:
        monkeypatch.setattr("lib_uniid.library.store.exclusive", refuse)
    try:
        answer = webui.txt2img(alwayson_scripts=TOY)
        assert answer.status == 200
        assert (flat.NAME in library.load("Anna").features) == writable
        assert not torch.equal(latents(answer), latents(webui.txt2img(alwayson_scripts=ANNA)))
    finally:
        file.write_bytes(before)  # other tests read it


@pytest.mark.parametrize("fallback", ["fail", "plain"])
def test_a_method_for_other_base_models_follows_the_request(webui: WebUI, fallback: str):
    plain = Traceless(webui)
    v1.register(ToyPlugin(bases=(SDXL,)), name="toy")
    answer = webui.txt2img(seed=5, alwayson_scripts=allowing(fallback))
    sentence = "the method Toy works with SDXL, and the base model is Stable Diffusion 1.5"
    if fallback == "fail":
        assert answer.status == 500
        assert sentence in answer.error
    else:
        assert torch.equal(latents(answer), plain.picture)
        assert answer.comments[0].startswith(f"UniID: Identities not applied: {sentence}")
    plain.check()


def test_a_method_that_plans_nothing_changes_nothing_and_adds_a_note(webui: WebUI):
    plain = Traceless(webui)
    v1.register(toy := ToyPlugin(), name="toy")
    toy._open = lambda *_: SimpleNamespace(plan=lambda *_: None)  # pyright: ignore
    answer = webui.txt2img(seed=5, alwayson_scripts=TOY)
    assert torch.equal(latents(answer), plain.picture)
    assert "UniID: Identities not applied: the method Toy injects nothing for them" in answer.comments
    assert toy.told == []
    assert webui.raised == []
    plain.check()


# --- announcements ---


def test_each_batch_is_announced_once_for_all_its_passes(webui: WebUI):
    v1.register(toy := ToyPlugin(), name="toy")
    assert webui.txt2img(enable_hr=True, n_iter=2, alwayson_scripts=TOY).status == 200
    assert toy.told == ["started", "finished"] * 2
    host = any_host(webui)
    host.refiner = (1, copy.deepcopy(host.unet))
    assert webui.txt2img(steps=3, alwayson_scripts=ANNA).status == 200
    assert toy.told == ["started", "finished"] * 3


@pytest.mark.parametrize("hook", ["generation_started", "generation_finished"])
def test_a_plugin_that_raises_at_an_announcement_is_named_in_the_notes(webui: WebUI, hook: str):
    before = latents(webui.txt2img(alwayson_scripts=ANNA))
    v1.register(SimpleNamespace(**{hook: fail}), name="odd")
    answer = webui.txt2img(alwayson_scripts=ANNA)
    assert torch.equal(latents(answer), before)
    sentence = f"{OFF}{hook} raised ValueError: a wrong number"
    assert any(one.startswith(f"UniID: {sentence}") for one in answer.comments)
    assert sentence in answer.result["UniID notes"]
