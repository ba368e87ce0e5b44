"""Whole generations through the real script: people are injected, and afterwards nothing of them is left."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.hosts.webui.asking import LEFT, ask, person
from tests.hosts.webui.conftest import Start
from tests.hosts.webui.standin.processing import (
    PostprocessImageArgs,
    Processed,
    Processing,
    Runner,
    process_images,
)
from tests.hosts.webui.standin.unets import OtherUNet
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import Other, Traceless, any_host, beside, hooks, latents
from tests.narrow import UNET_CONFIG
from tests.near import assert_near

ANNA, BEN = ask(person("Anna")), ask(person("Ben"))
BOTH = ask(person("Anna"), person("Ben"))


class Failing:
    """Makes the UNet fail in its call number ``call``, counted from 1."""

    def __init__(self, unet: nn.Module, call: int) -> None:
        self.left = call
        self.handle = unet.register_forward_pre_hook(self.count)

    def count(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.handle.remove()
            raise RuntimeError("out of memory")


# --- off means gone ---


def test_people_change_the_picture_and_the_plain_one_after_it_is_as_before(webui: WebUI):
    plain = Traceless(webui)
    one = latents(webui.txt2img(seed=5, alwayson_scripts=ANNA))
    two = latents(webui.txt2img(seed=5, alwayson_scripts=BOTH))
    assert not torch.allclose(one, plain.picture, atol=1e-2)
    assert not torch.allclose(two, one, atol=1e-2)
    plain.check()
    assert torch.equal(latents(webui.txt2img(seed=5, alwayson_scripts=ANNA)), one)
    assert webui.raised == []


def test_a_request_that_is_switched_off_is_no_request(webui: WebUI):
    plain = latents(webui.txt2img())
    off = webui.txt2img(alwayson_scripts=ask(person(), enabled=False))
    assert torch.equal(latents(off), plain)
    assert "UniID" not in off.infotexts[0]


def test_nothing_is_left_after_the_sampling_failed(webui: WebUI):
    plain = Traceless(webui)
    Failing(any_host(webui).unet, call=2)
    failed = webui.txt2img(seed=5, alwayson_scripts=BOTH)
    assert (failed.status, failed.error) == (500, "RuntimeError: out of memory")
    plain.check()


def test_after_a_failure_a_generation_without_scripts_is_plain_too(webui: WebUI):
    plain = Traceless(webui)
    Failing(any_host(webui).unet, call=2)
    assert webui.txt2img(seed=5, alwayson_scripts=BOTH).status == 500
    foreign = Processing(host=webui.host, seed=5)
    process_images(foreign)
    assert torch.equal(foreign.latents[0], plain.picture)


def test_nothing_is_left_after_an_interrupt(webui: WebUI):
    plain = Traceless(webui)
    webui.host.interrupt_at = webui.host.evaluations + 1
    interrupted = webui.txt2img(seed=5, steps=3, n_iter=2, alwayson_scripts=BOTH)
    assert (interrupted.status, len(interrupted.images)) == (200, 1)
    plain.check()


def test_hooks_left_by_a_failure_are_removed_with_the_generation(webui: WebUI):
    Failing(any_host(webui).unet, call=2)
    assert webui.txt2img(seed=5, alwayson_scripts=BOTH).status == 500
    assert hooks(any_host(webui).unet) == 0


def test_reloading_the_page_removes_hooks_left_by_a_failure(webui: WebUI):
    plain = Traceless(webui)
    kept: list[Any] = []  # as the traceback of a host's log keeps the generation
    beside(webui, process_before_every_sampling=lambda p, **_: kept.append(p))
    Failing(any_host(webui).unet, call=2)
    assert webui.txt2img(seed=5, alwayson_scripts=BOTH).status == 500
    assert hooks(any_host(webui).unet) > 0
    webui.reload()
    assert hooks(any_host(webui).unet) == 0
    plain.check()


# --- hires, refiner, other checkpoints ---


def test_people_are_in_both_passes_of_hires(webui: WebUI):
    plain = Traceless(webui)
    masked = ask(person("Anna", mask=LEFT), person("Ben"))
    both = latents(webui.txt2img(enable_hr=True, alwayson_scripts=masked))
    assert both.shape[-2:] == (16, 16)
    seen: list[int] = []
    beside(webui, process_before_every_sampling=lambda p, **_: seen.append(hooks(any_host(webui).unet)))
    webui.txt2img(enable_hr=True, alwayson_scripts=masked)
    assert min(seen) > 0
    assert len(seen) >= 2
    plain.check()


def test_people_go_on_through_a_refiner_that_replaces_the_unet(webui: WebUI):
    host = any_host(webui)
    first, second = host.unet, copy.deepcopy(host.unet)
    alone = latents(webui.txt2img(steps=3, alwayson_scripts=BOTH))
    plain = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    host.refiner = (1, second)
    refined = latents(webui.txt2img(steps=3, alwayson_scripts=BOTH))
    assert_near(refined, alone, within=1e-4)  # the same weights, so the same picture
    assert hooks(first) == hooks(second) == 0
    host.refiner = None
    webui.txt2img(steps=1)  # lets Forge take out what it merged
    for name, tensor in second.state_dict().items():
        assert torch.equal(tensor, plain[name]), name


def test_a_refiner_of_another_family_continues_without_people_and_adds_a_note(
    webui: WebUI, other_unet: nn.Module
):
    any_host(webui).refiner = (1, other_unet)
    answer = webui.txt2img(steps=2, alwayson_scripts=ANNA)
    assert answer.status == 200
    assert "UniID: the refiner has another model type: identities end at its first step" in answer.comments
    assert hooks(other_unet) == 0


@pytest.mark.parametrize("kind", ["a1111", "forge"])
def test_a_checkpoint_of_another_family_is_refused(start: Start, kind: str, other_unet: nn.Module):
    webui = start(kind, other_unet)
    refused = webui.txt2img(alwayson_scripts=ANNA)
    assert refused.status == 500
    assert "load the checkpoint family that" in refused.error
    assert webui.txt2img().status == 200


@pytest.mark.parametrize("kind", ["a1111", "forge"])
@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"layers_per_block": 1},
            "UniID needs a Stable Diffusion 1.5 or SDXL checkpoint, and the one that is loaded is of an "
            "unknown type (10 cross-attention layers, 32 to 64 channels wide, for text of 48 channels)",
        ),
        (
            {"cross_attention_dim": 1024},
            "no method works with Stable Diffusion 2; load a Stable Diffusion 1.5 or SDXL",
        ),
    ],
)
def test_a_unet_of_another_shape_is_refused_with_what_it_is(
    start: Start, kind: str, config: dict[str, Any], said: str
):
    webui = start(kind, OtherUNet(**{**UNET_CONFIG, **config}).eval())
    refused = webui.txt2img(alwayson_scripts=ANNA)
    assert refused.status == 500
    assert said in refused.error


# --- other scripts ---


def test_a_generation_inside_postprocess_image_is_independent(webui: WebUI):
    plain = Traceless(webui)
    ben = latents(webui.txt2img(seed=5, alwayson_scripts=BEN))
    alone = latents(webui.txt2img(seed=7, n_iter=2, alwayson_scripts=ANNA))
    nested: list[Processing] = []

    def make(p: Processing, pp: PostprocessImageArgs) -> None:
        if p in nested:
            return
        nested.append(Processing(host=p.host, seed=5))  # no scripts at all
        process_images(nested[-1])
        nested.append(webui.processing({"seed": 5, "alwayson_scripts": BEN}))
        process_images(nested[-1])

    beside(webui, postprocess_image=make)
    assert torch.equal(latents(webui.txt2img(seed=7, n_iter=2, alwayson_scripts=ANNA)), alone)
    assert len(nested) == 4
    for without, with_ben in (nested[:2], nested[2:]):
        assert torch.equal(without.latents[0], plain.picture)
        assert torch.equal(with_ben.latents[0], ben)
    webui.runners["txt2img"].scripts.pop()
    plain.check()


@pytest.mark.parametrize("ours_handed_on", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_what_adetailer_calls_between_pictures_changes_none_of_them(
    webui: WebUI, ours_handed_on: bool, first: bool
):
    """It ends and begins all scripts on copies of ``p``, and its own runs share the dict of parameters."""
    request: dict[str, Any] = {"seed": 7, "n_iter": 2, "batch_size": 2}
    request["alwayson_scripts"] = ask(person("Anna"), person("Ben"), check=True, show_routing=True)
    alone = webui.txt2img(**request)
    made, runner = 0, webui.runners["txt2img"]

    def detail(p: Processing, pp: PostprocessImageArgs) -> None:
        nonlocal made
        if p.steps == 1:  # its own
            return
        if made % 2 == 0:
            runner.run("postprocess", copy.copy(p), Processed(p, []))
        inner = copy.copy(p)
        inner.steps, inner.n_iter, inner.batch_size, inner.latents = 1, 1, 1, []
        inner.scripts = Runner(runner.scripts if ours_handed_on else [])
        process_images(inner)
        if made % 2 == 1:
            again = copy.copy(p)
            runner.run("before_process", again)
            runner.run("process", again)
        made += 1

    runner.scripts.insert(0 if first else 1, Other(postprocess_image=detail))
    beside_it = webui.txt2img(**request)
    assert made == 4
    assert torch.equal(latents(beside_it), latents(alone))
    assert beside_it.infotexts == alone.infotexts
    assert beside_it.result == alone.result
    assert len(beside_it.images) == len(alone.images)
    assert webui.raised == []


def test_a_generation_in_the_middle_of_sampling_is_independent(webui: WebUI):
    ben = latents(webui.txt2img(seed=5, alwayson_scripts=BEN))
    alone = latents(webui.txt2img(seed=7, steps=3, alwayson_scripts=ANNA))
    inner: list[Processing] = []

    def make(p: Processing, **_: Any) -> None:
        if not inner:
            inner.append(webui.processing({"seed": 5, "alwayson_scripts": BEN}))
            process_images(inner[0])
            p.host.activate(p.networks)  # Forge's patches are thrown away by the inner generation

    beside(webui, process_before_every_sampling=make)
    assert_near(latents(webui.txt2img(seed=7, steps=3, alwayson_scripts=ANNA)), alone, within=1e-4)
    assert torch.equal(inner[0].latents[0], ben)


def test_a_copied_processing_object_does_not_inherit_people(webui: WebUI):
    plain = latents(webui.txt2img())
    p = webui.processing({"alwayson_scripts": ANNA})
    process_images(p)
    cell = copy.copy(p)  # as X/Y/Z plot does: the dict of parameters stays the same object
    off = [{"version": 1, "people": [], "enabled": False}, False]
    cell.latents, cell.script_args = [], [*webui.defaults["txt2img"][: webui.first], *off]
    assert "UniID" in p.extra_generation_params
    processed = process_images(cell)
    assert torch.equal(cell.latents[0], plain)
    assert "UniID" not in processed.infotexts[0]
    assert "UniID result" not in cell.extra_generation_params
