"""Beside other extensions and the host's own features: each does its work, and so do people."""

from typing import Any

import pytest

from tests.hosts.webui.genuine.api import Answer
from tests.hosts.webui.genuine.beside import LORA, REFINER
from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, beside, person, picture
from tests.hosts.webui.genuine.pictures import apart, same

BOTH = ask(person("Anna"), person("Ben"))
FOUR_WAYS: dict[str, dict[str, Any]] = {
    "neither": {},
    "other": {"other": True},
    "people": {"people": True},
    "both": {"other": True, "people": True},
}


def only_on(webui: Running, kind: str, why: str) -> None:
    if webui.kind != kind:
        pytest.skip(why)


def check_four_ways(make: Any) -> dict[str, Answer]:
    """``make(other=, people=)`` makes four pictures that all differ; made again, each is as before."""
    first = {name: make(**{"other": False, "people": False, **way}) for name, way in FOUR_WAYS.items()}
    different = [(a, b) for a in first for b in first if a < b]
    assert all(not same(first[a], first[b]) for a, b in different), different
    for name in ("both", "neither", "people", "other"):
        again = make(**{"other": False, "people": False, **FOUR_WAYS[name]})
        assert same(again, first[name]), name
    return first


# --- runs inside a run, as ADetailer makes them ---


@pytest.mark.parametrize("ours", [False, True], ids=["without our script", "with our script"])
def test_a_run_inside_a_run_is_independent(webui: Running, ours: bool):
    strong = ask(person("Anna", weight=2), person("Ben", weight=2), identity_scale=2)
    inner: dict[str, Any] = {"denoising_strength": 0.9}
    alone = webui.api.txt2img(n_iter=2, alwayson_scripts=strong)
    plain, people = (
        webui.api.img2img(init_images=[picture("David")], **inner, alwayson_scripts=scripts).images[0]
        for scripts in ({}, strong)
    )
    nested = {"picture": picture("David"), **inner, "scripts": ["uniid.py"] if ours else []}
    answer = webui.api.txt2img(n_iter=2, alwayson_scripts=beside(strong, nested=nested))
    assert apart(people, plain) > 12
    assert apart(answer.images[0], people if ours else plain) == 0
    assert apart(answer.images[1], alone.images[1]) == 0  # the batch after it
    assert same(webui.api.txt2img(n_iter=2, alwayson_scripts=strong), alone)


# --- Regional Prompter ---


def test_a_region_for_each_of_two_and_prompts(webui: Running):
    only_on(webui, "a1111", "Forge does not offer what Regional Prompter mixes latents by (on_cfg_denoised)")

    def make(other: bool, people: bool) -> Answer:
        scripts = beside(BOTH if people else {}, regions=other)
        return webui.api.txt2img(prompt="a market AND a beach", batch_size=2, alwayson_scripts=scripts)

    check_four_ways(make)


# --- ToMe ---


def test_merged_tokens(webui: Running):
    def make(other: bool, people: bool) -> Answer:
        with webui.api.options(token_merging_ratio=0.5 if other else 0.0):
            return webui.api.txt2img(alwayson_scripts=BOTH if people else {})

    check_four_ways(make)


# --- the user's LoRA ---


@pytest.mark.parametrize("functional", [False, True], ids=["merged", "functional"])
def test_a_lora_of_the_user(webui: Running, functional: bool):
    if functional:
        only_on(webui, "a1111", "Forge has no setting for how LoRAs are applied")
    webui.api.txt2img()
    before = webui.api.get("/uniid-probe/model").body

    def make(other: bool, people: bool) -> Answer:
        prompt = "two friends" + (f" <lora:{LORA}:0.8>" if other else "")
        return webui.api.txt2img(prompt=prompt, alwayson_scripts=BOTH if people else {})

    with webui.api.options(**({"lora_functional": True} if functional else {})):
        check_four_ways(make)
        webui.api.txt2img()  # which takes out what was merged
        assert webui.api.get("/uniid-probe/model").body == before


# --- IP-Adapter ---


def test_forges_own_ip_adapter(webui: Running):
    if not webui.patches:
        pytest.skip("AUTOMATIC1111 has no IP-Adapter built in")

    def make(other: bool, people: bool) -> Answer:
        scripts = BOTH if people else {}
        return webui.api.txt2img(alwayson_scripts=beside(scripts, ip_adapter=0.5) if other else scripts)

    check_four_ways(make)


# --- engines in the place of the UNet ---


def test_an_engine_that_never_uses_the_unets_layers_fails(webui: Running):
    if webui.kind == "a1111":
        with webui.api.options(sd_unet="Probe engine"):
            answer = webui.api.txt2img(alwayson_scripts=BOTH)
    else:
        answer = webui.api.txt2img(alwayson_scripts=beside(BOTH, wrapper=True))
    assert answer.status == 500
    assert "cross-attention layers were computed without their hooks" in str(answer.body)


def test_people_are_in_a_compiled_unet(webui: Running):
    torch = webui.api.get("/uniid-probe/versions").body["torch"]
    if tuple(int(part) for part in torch.split(".")[:2]) < (2, 6):
        pytest.skip(f"torch {torch} cannot suspend compiled code, and compiling the UNet takes minutes")
    expected = webui.api.txt2img(alwayson_scripts=BOTH)
    compiled = webui.api.txt2img(alwayson_scripts=beside(BOTH, compile=True))
    assert same(compiled, expected)
    assert "torch.compile is suspended" in compiled.info["extra_generation_params"]["UniID notes"]


# --- refiner ---


def test_a_refiner_with_the_same_weights_makes_the_same_picture(webui: Running):
    refined: dict[str, Any] = {"refiner_checkpoint": REFINER, "refiner_switch_at": 0.5}
    plain = webui.api.txt2img()  # Forge leaves merged what was, until it is to merge something else
    before = webui.api.get("/uniid-probe/model").body
    people = webui.api.txt2img(alwayson_scripts=BOTH)
    through = webui.api.txt2img(**refined, alwayson_scripts=BOTH)
    assert "Refiner" in through.infotext
    assert same(through, people)
    assert same(webui.api.txt2img(**refined), plain)
    assert same(webui.api.txt2img(alwayson_scripts=BOTH), people)
    assert webui.api.txt2img().images == plain.images
    assert webui.api.get("/uniid-probe/model").body == before
