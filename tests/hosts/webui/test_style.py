"""A style picture in whole generations: it shapes them, whatever samples, and nothing of it is left."""

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib_uniid.bases import SDXL
from lib_uniid.config import StyleSettings
from lib_uniid.errors import ConfigError
from lib_uniid.hosts.webui.style_reference import prepare
from tests.hosts.webui.asking import LEFT, NO_FACE, RIGHT, ask, base64_of, person
from tests.hosts.webui.conftest import Start
from tests.hosts.webui.standin.processing import read
from tests.hosts.webui.standin.unets import ldm_unet
from tests.hosts.webui.standin.webui import Answer, WebUI
from tests.hosts.webui.watching import ROUNDING, Traceless, any_host, hooks, latents
from tests.near import assert_near

PAINTING = base64_of(np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8))


STEPS = 2
"""Of the inversion: a UNet of random weights lets rounding grow with every one, and all 25 take long."""


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_uniid.hosts.webui.style_reference.STEPS", STEPS)


def styled(*people: dict[str, Any], picture: str = PAINTING, **values: Any) -> dict[str, Any]:
    """``alwayson_scripts`` with a style; ``values`` are its other fields."""
    return ask(*(people or (person("Anna"),)), style={"picture": picture, **values})


class Calls:
    """The rows of each call of the UNet's own forward, and the latents and text of those with one row."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, unet: nn.Module) -> None:
        self.rows: list[int] = []
        self.alone: list[tuple[Tensor, Tensor]] = []
        forward: Any = type(unet).forward

        def watched(module: nn.Module, x: Tensor, timesteps: Tensor, context: Tensor, **more: Any) -> Tensor:
            self.rows.append(len(x))
            if len(x) == 1:
                self.alone.append((x, context))
            return forward(module, x, timesteps, context, **more)

        monkeypatch.setattr(type(unet), "forward", watched)


def test_a_base_family_with_several_text_encoders_is_refused_in_one_sentence():
    settings = StyleSettings(picture=np.zeros((64, 64, 3), dtype=np.uint8))
    with pytest.raises(
        ConfigError, match=r"^the style reference does not work with SDXL; [^.]*off$"
    ) as raised:
        prepare(None, settings, (8, 8), SDXL, lambda *_: pytest.fail("the picture was encoded"))
    assert raised.value.field == "style"


# --- what it does ---


def test_a_style_changes_the_picture_and_the_plain_one_after_it_is_as_before(webui: WebUI):
    plain = Traceless(webui)
    people = latents(webui.txt2img(seed=5, alwayson_scripts=ask(person("Anna"))))
    first = latents(webui.txt2img(seed=5, alwayson_scripts=styled()))
    assert not torch.allclose(first, people, atol=1e-2)
    assert torch.equal(latents(webui.txt2img(seed=5, alwayson_scripts=styled())), first)
    for other in (styled(picture=NO_FACE), styled(strength=1.5)):
        assert not torch.allclose(latents(webui.txt2img(seed=5, alwayson_scripts=other)), first, atol=1e-3)
    assert torch.equal(latents(webui.txt2img(seed=5, alwayson_scripts=ask(person("Anna")))), people)
    plain.check()
    assert webui.raised == []


def test_the_style_picture_is_inverted_once_and_sampled_in_each_evaluation(
    webui: WebUI, monkeypatch: pytest.MonkeyPatch
):
    calls = Calls(monkeypatch, any_host(webui).unet)
    webui.txt2img(steps=3, n_iter=2, alwayson_scripts=styled())
    assert calls.rows == [1] * STEPS + [1, 2] * 6
    nothing = read([""])
    assert all(torch.equal(text, nothing) for _, text in calls.alone)
    along = [x for x, _ in calls.alone[STEPS:]]
    assert all(torch.equal(a, b) for a, b in zip(along[:3], along[3:], strict=True))  # the second batch
    assert not torch.allclose(along[0], along[1], atol=1e-2)


def test_it_is_inverted_anew_for_the_size_of_the_hires_pass(webui: WebUI, monkeypatch: pytest.MonkeyPatch):
    calls = Calls(monkeypatch, any_host(webui).unet)
    assert webui.txt2img(steps=2, enable_hr=True, alwayson_scripts=styled()).status == 200
    sizes = [x.shape[-1] for x, _ in calls.alone]
    assert sizes == [8] * (STEPS + 2) + [16] * (STEPS + 2)


def test_the_hosts_random_state_is_not_changed(webui: WebUI):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    webui.txt2img(alwayson_scripts=styled())
    assert torch.equal(torch.rand(1), expected)


# --- however the host calls the UNet ---


@pytest.mark.parametrize("prompt", ["a park", "a park AND a lake"])
def test_split_calls_give_the_same_as_joined_ones(start: Start, prompt: str):
    asked = {"prompt": prompt, "alwayson_scripts": styled(person("Anna"), person("Ben")), "batch_size": 2}
    webui = start("a1111")
    joined = latents(webui.txt2img(**asked))
    any_host(webui).options.batch_cond_uncond = False
    assert_near(latents(webui.txt2img(**asked)), joined, ROUNDING * joined.abs().max().item())


def test_little_memory_on_forge_gives_the_same(start: Start):
    asked = {"alwayson_scripts": styled(person("Anna", mask=LEFT), person("Ben", mask=RIGHT))}
    webui = start("forge")
    joined = latents(webui.txt2img(**asked))
    any_host(webui).short_of_memory = True
    assert_near(latents(webui.txt2img(**asked)), joined, ROUNDING * joined.abs().max().item())


def test_guidance_of_one_has_a_style_too(webui: WebUI):
    people = latents(webui.txt2img(cfg_scale=1.0, alwayson_scripts=ask(person("Anna"))))
    assert not torch.allclose(
        latents(webui.txt2img(cfg_scale=1.0, alwayson_scripts=styled())), people, atol=1e-2
    )


def test_both_kinds_of_unet_give_the_same(start: Start):
    diffusers, ldm = (
        latents(start("a1111", unet).txt2img(alwayson_scripts=styled())) for unet in (None, ldm_unet())
    )
    assert_near(ldm, diffusers, ROUNDING * diffusers.abs().max().item())


def test_the_style_continues_through_a_refiner(webui: WebUI):
    host = any_host(webui)
    first, second = host.unet, copy.deepcopy(host.unet)
    alone = latents(webui.txt2img(steps=3, alwayson_scripts=styled()))
    host.refiner = (1, second)
    refined = latents(webui.txt2img(steps=3, alwayson_scripts=styled()))
    assert_near(refined, alone, ROUNDING * alone.abs().max().item())
    assert hooks(first) == hooks(second) == 0


def test_an_inpainting_models_further_channels_go_along(start: Start, monkeypatch: pytest.MonkeyPatch):
    webui = start("a1111")
    host = any_host(webui)
    forward: Any = type(host.unet).forward
    seen: set[int] = set()

    def narrowed(module: nn.Module, x: Tensor, timesteps: Tensor, context: Tensor, **more: Any) -> Tensor:
        seen.add(x.shape[1])
        return forward(module, x[:, :4], timesteps, context, **more)

    monkeypatch.setattr(type(host.unet), "forward", narrowed)
    scaled = host.scaled

    def with_mask(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        given, timesteps = scaled(x, sigma)
        return torch.cat([given, torch.ones_like(given), torch.ones_like(given[:, :1])], dim=1), timesteps

    monkeypatch.setattr(host, "scaled", with_mask)
    assert webui.txt2img(alwayson_scripts=styled()).status == 200
    assert seen == {9}


@pytest.mark.parametrize(
    "model",
    [
        {"predictor": {"prediction_type": "v_prediction"}},
        {"model_type": {"name": "V_PREDICTION"}},
    ],
    ids=["Forge", "reForge and Classic"],
)
def test_velocity_is_read_as_that_on_forge(start: Start, model: dict[str, Any]):
    webui = start("forge")
    noise = latents(webui.txt2img(alwayson_scripts=styled()))
    kmodel = any_host(webui).sd_model.forge_objects.unet.model
    for name, values in model.items():
        object.__setattr__(kmodel, name, type("Kind", (), values))
    assert not torch.allclose(latents(webui.txt2img(alwayson_scripts=styled())), noise, atol=1e-3)


def test_velocity_is_read_as_that_on_a1111(start: Start):
    webui = start("a1111")
    noise = latents(webui.txt2img(alwayson_scripts=styled()))
    any_host(webui).sd_model.parameterization = "v"
    assert not torch.allclose(latents(webui.txt2img(alwayson_scripts=styled())), noise, atol=1e-3)


# --- requests and infotexts ---


def written(answer: Answer) -> dict[str, Any]:
    assert answer.p is not None
    return json.loads(answer.p.extra_generation_params["UniID"])


def test_an_infotext_names_the_picture_and_keeps_its_strength(webui: WebUI):
    style = written(webui.txt2img(alwayson_scripts=styled(strength=0.8)))["style"]
    assert style["strength"] == 0.8
    assert style["picture"].startswith("sha256:")
    assert len(style["picture"]) < 30
    again = webui.txt2img(alwayson_scripts=styled(picture=style["picture"]))
    assert again.status == 500
    assert (
        "style.picture: an infotext has only the digest of the picture; give the picture again" in again.error
    )


def test_a_style_picture_that_is_none_is_refused_by_the_fields_name(start: Start):
    answer = start("a1111").txt2img(alwayson_scripts=styled(picture="no picture"))
    assert answer.status == 500
    assert "style.picture must be a picture in base64, got 'no picture'" in answer.error
