"""People on SDXL: two text encoders, conditionings as dicts, tokens among those of the prompt."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.hosts.webui.attachment import progress_of
from lib_uniid.library.store import Library
from lib_uniid.methods.uniid.text_tokens import InsertedTokens
from tests import narrow, narrow_xl
from tests.hosts.webui.asking import LEFT, RIGHT, ask, person
from tests.hosts.webui.conftest import KINDS, Start
from tests.hosts.webui.standin.unets import DiffusersUNet, XLUNet, xl_unet
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import ROUNDING, Traceless, any_host, hooks, latents
from tests.near import assert_near
from tests.standalone import needs_standalone_host

pytestmark = needs_standalone_host

COND, UNCOND = Role.COND, Role.UNCOND
ROLES = {"a1111": (COND, UNCOND), "forge": (UNCOND, COND), "neo": (UNCOND, COND)}
ANNA = ask(person("Anna"))
DRAWN = ask(person("Anna", mask=LEFT), person("Ben", mask=RIGHT), routing="mask")
LONG = "a park with many trees, " * 20
INSERTED = 3


@pytest.fixture(params=KINDS)
def webui(request: pytest.FixtureRequest, start: Start) -> WebUI:
    return start(request.param, xl_unet(), xl=True)


class Seen:
    """The calls of the UNet: what it read, after all changes of it, and what it gave."""

    def __init__(self, webui: WebUI) -> None:
        self.calls: list[dict[str, Tensor]] = []
        any_host(webui).unet.register_forward_hook(self.note, with_kwargs=True)

    def note(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        call = {"x": args[0], "timesteps": args[1], "out": out, **kwargs}
        self.calls.append({k: v.clone() for k, v in call.items() if isinstance(v, Tensor)})

    @property
    def texts(self) -> list[Tensor]:
        return [call["context"] for call in self.calls]


def standalone(models: Path, *people: PersonSettings) -> Plan:
    """The plan that the stand-alone host makes."""
    settings = GenerationSettings(prompt="a park", width=128, height=128, people=people)
    studio = open_studio(models, device="cpu")
    library = Library(folder=models / "uniid" / "library")
    plan = studio.plan(settings, {one.name: library.load(one.name) for one in people})
    assert plan is not None
    return plan


@pytest.mark.parametrize("kind", KINDS)
def test_one_call_of_the_unet_gives_what_the_stand_alone_host_gets(start: Start, xl_models: Path, kind: str):
    asked: dict[str, Any] = {"steps": 1, "width": 128, "height": 128}
    webui = start(kind, xl_unet(), xl=True)
    seen = Seen(webui)
    for scripts in ({}, {"alwayson_scripts": ANNA}):
        assert webui.txt2img(**asked, **scripts).status == 200
    before, call = seen.calls
    plan, unet, rows = standalone(xl_models, PersonSettings(name="Anna")), xl_unet(), Rows(ROLES[kind])
    given = call["x"], call["timesteps"]
    with torch.no_grad():
        plain = unet(*given, context=before["context"], y=call["y"])
        with injected(find_sites(unet), plan, rows):
            expected = unet(*given, context=before["context"], y=call["y"])
        with injected(find_sites(unet), replace(plan, context=()), rows):
            without_tokens = unet(*given, context=before["context"], y=call["y"])
    assert_near(call["out"], expected, within=1e-4)
    for other in (plain, without_tokens):
        assert not torch.allclose(expected, other, atol=1e-3)


def test_tokens_are_in_the_cond_rows_only(webui: WebUI):
    seen = Seen(webui)
    for scripts in ({}, {"alwayson_scripts": ANNA}):
        assert webui.txt2img(steps=1, **scripts).status == 200
    plain, text = seen.texts
    cond = ROLES[kind_of(webui)].index(COND)
    assert torch.equal(text[1 - cond], plain[1 - cond])  # zeros or not: whatever the host makes of no words
    assert torch.equal(text[cond, 0], plain[cond, 0])
    assert torch.equal(text[cond, 1 + INSERTED :], plain[cond, 1:-INSERTED])
    assert (text[cond, 1 : 1 + INSERTED] - plain[cond, 1 : 1 + INSERTED]).abs().amin(dim=1).max() > 0


def test_a_second_pass_begins_at_the_step_of_its_noise(webui: WebUI, monkeypatch: pytest.MonkeyPatch):
    asked, state = list[float](), InsertedTokens.state

    def noted(tokens: InsertedTokens, progress: float) -> Any:
        asked.append(progress)
        return state(tokens, progress)

    monkeypatch.setattr(InsertedTokens, "state", noted)
    hires: dict[str, Any] = {"enable_hr": True, "denoising_strength": 0.4}
    assert webui.txt2img(steps=2, **hires, alwayson_scripts=ANNA).status == 200
    assert sorted(set(asked)) == pytest.approx([0.0, 0.5, 0.6, 0.8])


@pytest.mark.parametrize(
    ("p", "begun"),
    [
        ({"is_hr_pass": False, "denoising_strength": 0.4}, 0.0),
        ({"is_hr_pass": True, "denoising_strength": 0.4}, 0.6),
        ({"is_hr_pass": False, "denoising_strength": 0.4, "init_images": ["a picture"]}, 0.6),
        ({"denoising_strength": 1.0, "init_images": ["a picture"]}, 0.0),
        ({"denoising_strength": None, "init_images": ["a picture"]}, 0.0),
    ],
)
@pytest.mark.parametrize(("step", "done"), [(0, 0.0), (2, 0.5)])
def test_a_pass_over_a_picture_begins_later(p: dict[str, Any], begun: float, step: int, done: float):
    denoiser = SimpleNamespace(step=step, total_steps=4, p=SimpleNamespace(**p))
    assert progress_of(SimpleNamespace(denoiser=denoiser)) == pytest.approx(begun + (1 - begun) * done)


def kind_of(webui: WebUI) -> str:
    return type(any_host(webui)).__name__.lower()


def test_an_empty_negative_prompt_is_zeros_where_the_host_makes_them(webui: WebUI):
    seen = Seen(webui)
    made = latents(webui.txt2img(steps=2, alwayson_scripts=DRAWN))
    assert made.isfinite().all()
    uncond = [text[ROLES[kind_of(webui)].index(UNCOND)] for text in seen.texts]
    assert all(bool(one.any()) == (kind_of(webui) == "neo") for one in uncond)


REQUESTS: dict[str, dict[str, Any]] = {
    "one": {"alwayson_scripts": ANNA},
    "drawn": {"alwayson_scripts": DRAWN, "width": 96},
    "AND": {"alwayson_scripts": DRAWN, "prompt": "a park AND a lake", "batch_size": 2},
    "long": {"alwayson_scripts": ANNA, "prompt": LONG},
    "long against": {"alwayson_scripts": ANNA, "negative_prompt": LONG, "batch_size": 2},
    "hires": {"alwayson_scripts": DRAWN, "enable_hr": True},
    "CFG 1": {"alwayson_scripts": ANNA, "cfg_scale": 1.0},
    "text": {"alwayson_scripts": ask(person("Anna"), branches="text")},
    "adapter": {"alwayson_scripts": ask(person("Anna"), branches="adapter")},
    "merged late": {"alwayson_scripts": ask(person("Anna"), merge_start=0.5), "steps": 4},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_whole_generations_on_all_hosts_agree_and_leave_no_trace(start: Start, name: str):
    asked = {"negative_prompt": "ugly", **REQUESTS[name]}
    made: list[Tensor] = []
    for kind in KINDS:
        webui = start(kind, xl_unet(), xl=True)
        plain = Traceless(webui)
        made.append(latents(webui.txt2img(**asked)))
        plain.check()
        without = latents(webui.txt2img(**asked | {"alwayson_scripts": {}}))
        assert (made[-1] - without).abs().max() > 0.01
        assert webui.raised == []
    for other in made[1:]:
        assert_near(other, made[0], within=0.01 * float(made[0].abs().max()))


@pytest.mark.parametrize("prompt", ["a park", "a park AND a lake", LONG])
def test_joined_and_split_calls_agree(start: Start, prompt: str):
    asked: dict[str, Any] = {"prompt": prompt, "batch_size": 2, "alwayson_scripts": ANNA}
    forge, a1111 = start("forge", xl_unet(), xl=True), start("a1111", xl_unet(), xl=True)
    pairs = [[latents(one.txt2img(**asked))] for one in (forge, a1111)]
    any_host(forge).short_of_memory, any_host(a1111).options.batch_cond_uncond = True, False
    for pair, one in zip(pairs, (forge, a1111), strict=True):
        pair.append(latents(one.txt2img(**asked)))
        assert_near(*pair, within=ROUNDING * float(pair[0].abs().max()))


def test_a_text_that_forge_repeats_has_the_tokens_in_every_repetition(start: Start):
    webui = start("forge", xl_unet(), xl=True)
    seen = Seen(webui)
    webui.txt2img(steps=1, negative_prompt=LONG, alwayson_scripts=ANNA)
    (text,) = seen.texts
    chunks = text.shape[1] // 77
    assert chunks > 1
    assert torch.equal(text[1], text[1, :77].repeat(chunks, 1))
    assert not torch.equal(text[0], text[0, :77].repeat(chunks, 1))


@pytest.mark.parametrize(
    ("words", "scripts", "said"),
    [
        (73, ANNA, ""),
        (74, ANNA, "token 74 of the prompt made room for 3 tokens of identities and had no effect"),
        (90, ANNA, "tokens 74 to 75 of the prompt made room for 3 tokens"),
        (75, DRAWN, "tokens 71 to 75 of the prompt made room for 6 tokens"),
        (75, ask(person("Anna"), branches="adapter"), ""),
    ],
)
def test_words_without_room_are_named(webui: WebUI, words: int, scripts: Any, said: str):
    trees = " tree" * words
    prompt = f"a lake AND {trees}" if words <= 75 else trees
    answer = webui.txt2img(prompt=prompt, steps=1, alwayson_scripts=scripts)
    assert answer.status == 200
    noted = [comment for comment in answer.comments if "made room" in comment]
    assert len(noted) == (1 if said else 0)
    assert not said or said in noted[0]


def test_the_norms_of_names_are_computed_once_for_each_checkpoint(start: Start):
    webui = start("a1111", xl_unet(), xl=True)
    host = any_host(webui)

    def encoded(**asked: Any) -> int:
        before = host.texts.encoded
        webui.txt2img(**asked)
        return host.texts.encoded - before

    plain = encoded()
    first = encoded(alwayson_scripts=ANNA)
    assert first > plain
    assert encoded(alwayson_scripts=ANNA) == plain
    host.load_checkpoint(host.unet.state_dict())
    assert encoded(alwayson_scripts=ANNA) == first


def test_people_go_on_through_a_refiner_of_the_same_kind(webui: WebUI):
    host = any_host(webui)
    first, second = host.unet, copy.deepcopy(host.unet)
    alone = latents(webui.txt2img(steps=3, alwayson_scripts=ANNA))
    host.refiner = (1, second)
    refined = webui.txt2img(steps=3, alwayson_scripts=ANNA)
    assert_near(latents(refined), alone, within=1e-4)  # the same weights, so the same picture
    assert "UniID notes" not in refined.infotexts[0]
    assert hooks(first) == hooks(second) == 0


def refiner() -> nn.Module:
    """Of the layers of SDXL's refiner, which reads the second text encoder alone."""
    torch.manual_seed(3)
    config: dict[str, Any] = {
        **narrow_xl.UNET_CONFIG,
        "block_out_channels": (32,) * 4,
        "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
        "transformer_layers_per_block": 4,
        "cross_attention_dim": narrow_xl.TEXT_WIDTH_2,
    }
    return Refiner(**config).eval().requires_grad_(False)


class Refiner(XLUNet):
    """Called with the text of both."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor, **_: Any) -> Tensor:
        return super().forward(x, timesteps, context[..., -narrow_xl.TEXT_WIDTH_2 :], y)


def test_the_official_refiner_continues_without_people_and_the_infotext_says_so(webui: WebUI):
    host, other = any_host(webui), refiner()
    plain = Traceless(webui)
    first = host.unet
    host.refiner = (1, other)
    answer = webui.txt2img(steps=2, alwayson_scripts=ANNA)
    assert answer.status == 200
    said = "the refiner has another model type: identities end at its first step"
    assert f"UniID: {said}" in answer.comments
    assert said in answer.infotexts[0]
    assert hooks(first) == hooks(other) == 0
    host.refiner = None
    host.set_model(first)
    again = webui.txt2img(steps=2, alwayson_scripts=ANNA)
    assert said not in again.infotexts[0]
    plain.check()


def test_a_stable_diffusion_1_checkpoint_as_refiner_ends_people(webui: WebUI):
    any_host(webui).refiner = (1, Narrow(**narrow.UNET_CONFIG).eval().requires_grad_(False))
    answer = webui.txt2img(steps=2, alwayson_scripts=ANNA)
    assert answer.status == 200, answer.error
    assert any("identities end at its first step" in comment for comment in answer.comments)


class Narrow(DiffusersUNet):
    """Stable Diffusion 1.5's UNet called with the text of SDXL."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **_: Any) -> Tensor:
        return super().forward(x, timesteps, context[..., : narrow.TEXT_WIDTH])
