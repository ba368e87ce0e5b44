"""However a host passes its rows to the UNet, the picture is the same, and all hosts agree."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_uniid.attention.injection import injected
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.hosts.webui.a1111 import Cursor
from lib_uniid.library.store import Library
from tests.hosts.webui.asking import LEFT, RIGHT, ask, person
from tests.hosts.webui.conftest import Start
from tests.hosts.webui.standin.processing import WORDS
from tests.hosts.webui.standin.unets import diffusers_unet, ldm_unet
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import ROUNDING, Traceless, any_host, beside, latents
from tests.near import assert_near
from tests.standalone import needs_standalone_host

BOTH = ask(person("Anna"), person("Ben", weight=0.5))
# Without the router, for which a rounding error can decide to whom a place belongs.
MEAN = ask(person("Anna"), person("Ben", weight=0.5), routing="off")
LONG = "a park " + "with trees " * WORDS
PROMPTS = ["a park", "a park AND a lake", LONG, f"{LONG} AND a lake with {LONG}", "one AND two AND three"]

COND, UNCOND, UNTOUCHED = Role.COND, Role.UNCOND, Role.UNTOUCHED


# --- AUTOMATIC1111 ---


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("prompt", PROMPTS, ids=["plain", "AND", "long", "long AND long", "AND AND"])
def test_batched_and_unbatched_guidance_agree_on_a1111(start: Start, prompt: str, pictures: int):
    webui = start("a1111")
    asked: dict[str, Any] = {"prompt": prompt, "batch_size": pictures, "alwayson_scripts": MEAN}
    batched = latents(webui.txt2img(**asked))
    any_host(webui).options.batch_cond_uncond = False
    assert_near(latents(webui.txt2img(**asked)), batched, within=ROUNDING * float(batched.abs().max()))
    assert webui.raised == []


@pytest.mark.parametrize("batched", [True, False])
def test_steps_without_uncond_rows_have_people_on_a1111(start: Start, batched: bool):
    webui = start("a1111")
    any_host(webui).options.uncond_from = 0.5
    any_host(webui).options.batch_cond_uncond = batched
    skipped = webui.txt2img(prompt="a park AND a lake", batch_size=2, alwayson_scripts=BOTH)
    plain = webui.txt2img(prompt="a park AND a lake", batch_size=2)
    assert not torch.allclose(latents(skipped), latents(plain), atol=1e-2)
    assert skipped.comments == []


def test_a_cursor_passes_each_row_once_and_leaves_unexpected_rows_unchanged():
    rows = Rows(())
    cursor = Cursor(rows)
    cursor.reset(cond=3, total=5)
    seen: list[tuple[Role, ...]] = []
    before: list[int] = []
    for count in (2, 2, 1, 2):
        cursor.advance(count)
        seen.append(rows.roles)
        before.append(rows.before)
    assert before == [0, 2, 3, 3]
    assert seen == [(COND, COND), (COND, UNCOND), (UNCOND,), (UNTOUCHED, UNTOUCHED)]
    assert cursor.unexplained == 1
    cursor.reset(cond=1, total=1)
    cursor.advance(1)
    assert rows.roles == (COND,)


def test_unexpected_calls_of_the_unet_are_unchanged_and_noted(start: Start):
    webui = start("a1111")
    unet = any_host(webui).unet
    given = torch.randn(1, 4, 8, 8), torch.tensor([10]), torch.randn(1, 77, 48)
    with torch.no_grad():
        plain = unet(*given)
    outs: list[Tensor] = []

    def call(params: Any) -> None:
        rows = params.x.shape[0]
        for _ in range(rows):  # first those of the host, so that the next are too many
            outs.append(unet(*given))
        outs.append(unet(*given))

    webui.txt2img(steps=1, alwayson_scripts=ask(person("Anna")))  # our callback comes first from here on
    webui.callbacks.register("cfg_denoiser")(call)
    answer = webui.txt2img(steps=1, alwayson_scripts=ask(person("Anna")))
    assert not torch.allclose(outs[0], plain, atol=1e-3)
    merged = outs[-1]  # the LoRA is in the weights, the person is not in the rows
    assert not torch.allclose(merged, outs[0], atol=1e-3)
    assert any("identities were not applied in " in comment for comment in answer.comments)


def takes_rows_apart(attention: Any) -> None:
    """As Regional Prompter's attention mode: a forward of its own, for cond and uncond rows in turn."""
    whole = attention.forward

    def forward(hidden: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        halves = zip(hidden.chunk(2), encoder_hidden_states.chunk(2), strict=True)
        return torch.cat([whole(rows, encoder_hidden_states=text) for rows, text in halves])

    attention.forward = forward


def test_rows_that_another_extension_takes_apart_fail_with_a_sentence(webui: WebUI):
    for name, module in any_host(webui).unet.named_modules():
        if name.endswith(".attn2"):
            takes_rows_apart(module)
    plain = Traceless(webui)
    answer = webui.txt2img(alwayson_scripts=BOTH)
    assert answer.status == 500
    assert "switch off the extension that takes them apart" in answer.error
    plain.check()


# --- Forge ---


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("prompt", PROMPTS, ids=["plain", "AND", "long", "long AND long", "AND AND"])
def test_joined_and_split_calls_agree_on_forge(start: Start, prompt: str, pictures: int):
    webui = start("forge")
    asked: dict[str, Any] = {"prompt": prompt, "batch_size": pictures, "alwayson_scripts": MEAN}
    joined = latents(webui.txt2img(**asked))
    any_host(webui).short_of_memory = True
    assert_near(latents(webui.txt2img(**asked)), joined, within=ROUNDING * float(joined.abs().max()))
    assert webui.raised == []


def wrap(calls: list[int]) -> Callable[..., None]:
    """Another extension's function wrapper, put on a clone in the middle of the chain."""

    def hook(p: Any, **_: Any) -> None:
        patched = p.sd_model.forge_objects.unet.clone()
        inner = patched.model_options.get("model_function_wrapper")

        def count(apply_model: Any, call: dict[str, Any]) -> Any:
            calls.append(len(call["input"]))
            if inner is not None:
                return inner(apply_model, call)
            return apply_model(call["input"], call["timestep"], **call["c"])

        patched.set_model_unet_function_wrapper(count)
        p.sd_model.forge_objects.unet = patched

    return hook


@pytest.mark.parametrize("first", [True, False])
def test_wrappers_of_other_extensions_keep_working_on_forge(start: Start, first: bool):
    webui = start("forge")
    alone = latents(webui.txt2img(alwayson_scripts=BOTH))
    calls: list[int] = []
    beside(webui, process_before_every_sampling=wrap(calls))
    scripts = webui.runners["txt2img"].scripts
    if first:
        scripts.reverse()
    assert torch.equal(latents(webui.txt2img(alwayson_scripts=BOTH)), alone)
    assert calls == [2, 2]


# --- all identities ---

REQUESTS: dict[str, dict[str, Any]] = {
    "one": {"alwayson_scripts": ask(person("Anna"))},
    "two": {"alwayson_scripts": BOTH},
    "AND": {"alwayson_scripts": BOTH, "prompt": "a park AND a lake", "batch_size": 2},
    "long": {"alwayson_scripts": BOTH, "prompt": LONG},
    "masks": {
        "alwayson_scripts": ask(person("Anna", mask=LEFT), person("Ben", mask=RIGHT), routing="mask"),
        "width": 96,
    },
    "times": {"alwayson_scripts": ask(person("Anna", end=0.5), person("Ben", start=0.4)), "steps": 4},
    "hires": {"alwayson_scripts": ask(person("Anna", mask=LEFT), person("Ben")), "enable_hr": True},
    "CFG 1": {"alwayson_scripts": BOTH, "cfg_scale": 1.0},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_whole_generations_on_both_hosts_agree(start: Start, name: str):
    made = [latents(start(kind).txt2img(**REQUESTS[name])) for kind in ("a1111", "forge")]
    plain = {key: value for key, value in REQUESTS[name].items() if key != "alwayson_scripts"}
    # A rounding error may give a place at the border between two people to the other one, and later steps go
    # on from there; whoever had a row of the wrong role would see all of the difference that people make.
    difference = (made[0] - latents(start("a1111").txt2img(**plain))).abs().max()
    assert difference > 0.1
    assert_near(made[0], made[1], within=0.01 * float(difference))


class Seen:
    """What the UNet was called with, and what it gave; ``people`` only."""

    def __init__(self, webui: WebUI) -> None:
        self.inputs: list[tuple[Tensor, ...]] = []
        self.outputs: list[Tensor] = []
        any_host(webui).unet.register_forward_hook(self.note, with_kwargs=True)

    def note(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        self.inputs.append((args[0].clone(), args[1].clone(), kwargs["context"].clone()))
        self.outputs.append(out.clone())


@needs_standalone_host
@pytest.mark.parametrize("make_unet", [diffusers_unet, ldm_unet])
@pytest.mark.parametrize(("kind", "roles"), [("a1111", (COND, UNCOND)), ("forge", (UNCOND, COND))])
def test_one_call_of_the_unet_gives_what_the_stand_alone_host_gets(
    start: Start,
    webui_models: Path,
    make_unet: Callable[[], nn.Module],
    kind: str,
    roles: tuple[Role, ...],
):
    webui = start(kind, make_unet())
    seen = Seen(webui)
    webui.txt2img(steps=1, width=128, height=128, alwayson_scripts=BOTH)
    settings = GenerationSettings(
        prompt="a park",
        width=128,
        height=128,
        people=(PersonSettings(name="Anna"), PersonSettings(name="Ben", weight=0.5)),
    )
    studio = open_studio(webui_models, device="cpu")
    library = Library(folder=webui_models / "uniid" / "library")
    plan = studio.plan(settings, {name: library.load(name) for name in ("Anna", "Ben")})
    unet = diffusers_unet()
    with torch.no_grad():
        plain = unet(*seen.inputs[0])
        with injected(find_sites(unet), plan, Rows(roles)):
            expected = unet(*seen.inputs[0])
    assert_near(seen.outputs[0], expected, within=1e-4)
    assert not torch.allclose(expected, plain, atol=1e-2)
