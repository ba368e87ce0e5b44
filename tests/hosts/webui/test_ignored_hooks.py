"""A UNet that is computed without our hooks: never a picture without the people and without a message."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

from lib_uniid.hosts.webui.attachment import COMPILED
from tests.hosts.webui.asking import ask, person
from tests.hosts.webui.standin.forge import Forge
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import Traceless, any_host, beside, latents

ANNA = ask(person("Anna"))
PLAIN = ask(person("Anna"), fallback="plain")
IGNORED = "cross-attention layers were computed without their hooks"


def replace_unet(webui: WebUI) -> None:
    """An engine in the place of the UNet's own layers."""
    any_host(webui).unet.forward = lambda x, timesteps, context: torch.zeros_like(x)


def multiply_past(linear: nn.Linear) -> None:
    """An engine that multiplies by one layer's weight and never calls the layer."""

    class Past(nn.Linear):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.weight, self.bias)

    linear.__class__ = Past


def compile_first_block(unet: nn.Module) -> None:
    """The whole would take a minute; see tests/attention/test_compiled.py for the other ways to compile."""
    unet.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0").compile(backend="eager")


@pytest.mark.parametrize("scripts", [ANNA, PLAIN], ids=["fail", "plain"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_job_that_never_uses_the_unets_own_layers_fails(webui: WebUI, scripts: Any, steps: int):
    replace_unet(webui)
    answer = webui.txt2img(steps=steps, alwayson_scripts=scripts)
    assert answer.status == 500
    assert IGNORED in answer.error
    assert webui.txt2img(steps=steps).status == 200


@pytest.mark.parametrize("side", ["to_q", "to_out.0"])
def test_a_site_of_which_one_hook_is_never_called_fails(webui: WebUI, side: str):
    block = "mid_block.attentions.0.transformer_blocks.0.attn2"
    multiply_past(any_host(webui).unet.get_submodule(f"{block}.{side}"))  # pyright: ignore[reportArgumentType]
    answer = webui.txt2img(alwayson_scripts=ANNA)
    assert answer.status == 500
    assert f"1 of 16 {IGNORED} (the first is {block})" in answer.error


def test_what_replaces_the_call_of_the_unet_as_a_whole_fails_too(webui: WebUI):
    if not isinstance(webui.host, Forge):
        pytest.skip("only Forge and what grew from it have wrappers")

    def wrap(p: Any, **_: Any) -> None:
        objects = p.sd_model.forge_objects
        objects.unet = objects.unet.clone()
        objects.unet.set_model_unet_function_wrapper(lambda apply_model, call: 0.5 * call["input"])

    beside(webui, process_before_every_sampling=wrap)
    scripts = webui.runners["txt2img"].scripts
    scripts.insert(0, scripts.pop())  # before ours, whose wrapper calls it
    answer = webui.txt2img(alwayson_scripts=ANNA)
    assert answer.status == 500
    assert IGNORED in answer.error


def test_steps_without_a_call_of_the_unet_are_allowed(webui: WebUI):
    """As caches between steps do, such as Spectrum."""
    unet, last = any_host(webui).unet, list[torch.Tensor]()
    computed = type(unet).forward

    def forecast(x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor, **_: Any) -> torch.Tensor:
        if not last:
            last.append(computed(unet, x, timesteps, context))
        return last[0]

    unet.forward = forecast
    answer = webui.txt2img(steps=4, alwayson_scripts=ANNA)
    assert answer.status == 200
    assert answer.result.get("UniID notes") is None


def test_hooks_that_were_ignored_before_a_refiner_fail_the_job(webui: WebUI):
    host = any_host(webui)
    host.refiner = (1, copy.deepcopy(host.unet))
    replace_unet(webui)
    failed = webui.txt2img(steps=3, alwayson_scripts=ANNA)
    assert failed.status == 500
    assert IGNORED in failed.error


def test_hooks_that_were_ignored_in_the_first_pass_fail_the_job(webui: WebUI):
    unet = any_host(webui).unet
    computed = type(unet).forward

    def engine(x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.zeros_like(x) if x.shape[-1] == 8 else computed(unet, x, timesteps, context)

    unet.forward = engine
    failed = webui.txt2img(enable_hr=True, alwayson_scripts=ANNA)
    assert failed.status == 500
    assert IGNORED in failed.error


def test_calls_before_a_refiner_count_for_the_job(webui: WebUI):
    """Then steps without a call of the UNet are allowed after it, too."""
    host = any_host(webui)
    second = copy.deepcopy(host.unet)
    second.forward = lambda x, timesteps, context, **_: torch.zeros_like(x)
    host.refiner = (1, second)
    answer = webui.txt2img(steps=3, alwayson_scripts=ANNA)
    assert answer.status == 200, answer.error


def test_notes_on_the_base_are_kept_after_a_refiner(webui: WebUI):
    host = any_host(webui)
    second = copy.deepcopy(host.unet)
    compile_first_block(host.unet)
    webui.txt2img(seed=5)
    host.refiner = (1, second)
    answer = webui.txt2img(seed=5, steps=2, alwayson_scripts=ANNA)
    assert json.loads(answer.result["UniID notes"]) == [COMPILED]


def test_people_are_in_a_compiled_unet_and_one_note_is_added(webui: WebUI):
    plain, unet = Traceless(webui), any_host(webui).unet
    expected = latents(webui.txt2img(seed=5, alwayson_scripts=ANNA))
    compile_first_block(unet)
    webui.txt2img(seed=5)
    answer = webui.txt2img(seed=5, n_iter=2, alwayson_scripts=ANNA)
    assert torch.equal(latents(answer)[:1], expected)
    assert json.loads(answer.result["UniID notes"]) == [COMPILED]
    assert torch.allclose(latents(webui.txt2img(seed=5)), plain.picture, atol=1e-4)


def test_a_refusal_is_no_picture_of_a_compiled_unet_either(webui: WebUI):
    compile_first_block(any_host(webui).unet)
    webui.txt2img(seed=5)
    refused = webui.txt2img(seed=5, alwayson_scripts=ask({"name": "Unknown"}))
    assert refused.status == 500
    assert "people[0]" in refused.error
