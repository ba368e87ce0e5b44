"""The official attention processors' outputs, reproduced through hooks on plain diffusers layers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.injection import injected
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sharing import Sharing, shared
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from tests import recorded
from tests.attention.builders import GUIDED, Pair, attention
from tests.methods.uniportrait.image_prompt import ImagePrompt, with_image_prompt
from tests.near import assert_near

pytestmark = pytest.mark.golden

SELF, CROSS, SHARE = (
    recorded.tensors(name) for name in ("attn_self_small", "attn_cross_small", "attn_cross_share")
)
CASES = recorded.notes("attn_cross_small")["cases"]
GRID = (6, 10)
STYLED = (Role.STYLE, Role.UNCOND, Role.STYLE, Role.COND)

LORA_CASES = {  # people, LoRA scale
    "plain": (1, 0.0),
    "lora1": (1, 1.0),
    "lora0.5": (1, 0.5),
    "multi1": (2, 1.0),
    "both_lora_wins": (1, 1.0),
}
SHARING_CASES = {  # LoRA scale, sharing
    "share_shift": (1.0, Sharing(score_shift=-0.5)),
    "share_noshift": (0.0, Sharing(score_shift=0.0)),
    "share_adain_scale": (0.0, Sharing(score_shift=-0.5, score_scale=1.1, adain=True)),
}
MAP_CASE = "lora0.5_from_4d"


@pytest.fixture(scope="module")
def pair() -> Pair:
    pair = Pair(attention(32, heads=4), attention(32, 24, heads=4))
    pair.self_attention.load_state_dict(recorded.under("attn.", SELF))
    pair.cross_attention.load_state_dict(recorded.under("attn.", CROSS))
    return pair


@pytest.fixture(scope="module")
def adapter() -> UniPortraitAdapter:
    """The processors' weights, given through the layouts of the published files."""
    faceid: dict[str, Tensor] = {}
    router: dict[str, Tensor] = {}
    for index, recording in enumerate((SELF, CROSS)):
        for name, tensor in recorded.under("proc.", recording).items():
            if "_multi_id_lora" in name:
                router[f"{index}.{name.replace('_multi_id_lora', '_lora')}"] = tensor
            elif "router" in name:
                router[f"{index}.{name}"] = tensor
            elif "_ip" not in name:
                faceid[f"{index}.{name}"] = tensor
    return UniPortraitAdapter.from_state_dicts(faceid, router)


IMAGE = {f"1.{name}": tensor for name, tensor in recorded.under("proc.", CROSS).items() if "_ip" in name}
SIZE = (48, 80)


def settings(case: dict[str, Any]) -> PlanSettings:
    """The official call's scales in our words."""
    single, multi = case.get("lora_scale", 0.0), case.get("multi_id_lora_scale", 0.0)
    return PlanSettings(
        id_scale=case.get("faceid_scale", 0.0),
        lora_scale=single or multi,
        lora_set="single" if single or case["num_faceids"] == 1 else "multi",  # the single set wins
        latent_size=SIZE,
    )


def image_prompt(case: dict[str, Any]) -> ImagePrompt:
    return ImagePrompt(
        tokens=CROSS["in.ip"][1],
        uncond=CROSS["in.ip"][0],
        scale=case.get("ip_scale", 0.0),
        mask=CROSS["in.ip_mask"][0, 0] if case.get("ip_mask") else None,
    )


def persons(case: dict[str, Any]) -> list[PlannedIdentity]:
    count = case["num_faceids"]
    masks = CROSS["in.faceid_mask"][0] if case.get("faceid_mask") else [None] * count
    return [PlannedIdentity(tokens=CROSS["in.id_tokens"][i], mask=masks[i]) for i in range(count)]


@pytest.mark.parametrize("merge_lora", [True, False], ids=["merged", "beside"])
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"noid", "noid_lora1"}))
def test_cross_attention_is_the_official_one(
    pair: Pair, adapter: UniPortraitAdapter, name: str, merge_lora: bool
):
    case = CASES[name]
    with torch.no_grad():
        plan = build(adapter, pair.sites, persons(case), CROSS["in.uncond_id_tokens"][0], settings(case))
        if (prompt := image_prompt(case)).scale:
            plan = with_image_prompt(plan, pair.sites, IMAGE, prompt, SIZE)
        with injected(pair.sites, plan, Rows(GUIDED), merge_lora=merge_lora):
            out = pair.cross_attention(CROSS["in.hidden"], CROSS["in.text"])
    assert_near(out, CROSS[f"out.{name}"])


@pytest.mark.parametrize(("name", "count"), [("two_ids", 2), ("three_ids", 3)])
def test_router_logits_are_the_official_ones(pair: Pair, adapter: UniPortraitAdapter, name: str, count: int):
    record = RoutingRecord()
    with torch.no_grad():
        plan = build(adapter, pair.sites, persons(CASES[name]), CROSS["in.uncond_id_tokens"][0])
        with injected(pair.sites, plan, Rows(GUIDED), record=record):
            pair.cross_attention(CROSS["in.hidden"], CROSS["in.text"])
    assert_near(record.logits[1], CROSS[f"router{count}.logits"][1:])
    assert torch.equal(record.maps[1].argmax(dim=-1), CROSS[f"router{count}.argmax"][1:].long())


def test_without_people_the_layer_is_unchanged(pair: Pair, adapter: UniPortraitAdapter):
    plan = build(adapter, pair.sites, [], None)
    with torch.no_grad(), injected(pair.sites, plan, Rows(GUIDED)):
        out = pair.cross_attention(CROSS["in.hidden"], CROSS["in.text"])
    assert_near(out, CROSS["out.noid"])


@pytest.mark.parametrize("name", LORA_CASES)
def test_self_attention_is_the_official_one(pair: Pair, adapter: UniPortraitAdapter, name: str):
    count, scale = LORA_CASES[name]
    case = {"num_faceids": count}
    with torch.no_grad():
        plan = build(adapter, pair.sites, persons(case), None, PlanSettings(lora_scale=scale))
        with injected(pair.sites, plan, Rows([Role.COND] * 4)):
            out = pair.self_attention(SELF["in.hidden"])
    assert_near(out, SELF[f"out.{name}"])


def test_self_attention_takes_feature_maps_as_the_official_one_does(pair: Pair, adapter: UniPortraitAdapter):
    maps = SELF["in.hidden"].transpose(1, 2).unflatten(2, (8, 8))
    with torch.no_grad():
        plan = build(adapter, pair.sites, persons({"num_faceids": 1}), None, PlanSettings(lora_scale=0.5))
        with injected(pair.sites, plan, Rows([Role.COND] * 4)):
            out = pair.self_attention(maps)
    assert_near(out, SELF[f"out.{MAP_CASE}"])


@pytest.mark.parametrize("merge_lora", [True, False], ids=["merged", "beside"])
@pytest.mark.parametrize("name", SHARING_CASES)
def test_shared_self_attention_is_the_official_one(
    pair: Pair, adapter: UniPortraitAdapter, name: str, merge_lora: bool
):
    (scale, sharing), rows = SHARING_CASES[name], Rows(STYLED)
    options, who = PlanSettings(lora_scale=scale), persons({"num_faceids": 1})
    with torch.no_grad():
        plan = build(adapter, pair.sites, who, None, options)
        with (
            injected(pair.sites, plan, rows, merge_lora=merge_lora),
            shared(pair.sites, sharing, rows),
        ):
            out = pair.self_attention(SELF["in.hidden"])
    assert_near(out, SELF[f"out.{name}"])


def test_every_recorded_output_of_self_attention_is_compared_and_every_weight_used(
    pair: Pair, adapter: UniPortraitAdapter
):
    compared = {f"out.{name}" for name in (*LORA_CASES, *SHARING_CASES, MAP_CASE)}
    layer = {f"attn.{name}" for name in pair.self_attention.state_dict()}
    single = {f"proc.{name}" for name in recorded.under("0.", adapter.faceid.state_dict())}
    multi = {name.replace("_lora", "_multi_id_lora") for name in single}
    assert compared | layer | single | multi | {"in.hidden"} == SELF.keys()
    assert {f"out.{name}" for name in recorded.notes("attn_self_small")["cases"]} == compared


def test_a_batch_of_several_pictures_is_the_official_one(pair: Pair, adapter: UniPortraitAdapter):
    prompt = ImagePrompt(tokens=CROSS["in.ip"][0], uncond=SHARE["in.uncond_ip"][0], scale=0.7)
    with torch.no_grad():
        plan = build(
            adapter,
            pair.sites,
            persons({"num_faceids": 1}),
            CROSS["in.uncond_id_tokens"][0],
        )
        plan = with_image_prompt(plan, pair.sites, IMAGE, prompt)
        roles = [Role.UNCOND, Role.UNCOND, Role.COND, Role.COND]
        with injected(pair.sites, plan, Rows(roles)):
            out = pair.cross_attention(SHARE["in.hidden"], SHARE["in.text"])
    assert_near(out, SHARE["out.single_noshare"])


@pytest.mark.parametrize("role", [Role.STYLE, Role.UNTOUCHED])
@pytest.mark.parametrize(("name", "count"), [("single_share", 1), ("two_share", 2)])
def test_identities_are_not_injected_into_the_official_style_rows(
    pair: Pair, adapter: UniPortraitAdapter, name: str, count: int, role: Role
):
    prompt = ImagePrompt(tokens=CROSS["in.ip"][0], uncond=SHARE["in.uncond_ip"][0], scale=0.7)
    roles = [role, Role.UNCOND, role, Role.COND]
    with torch.no_grad():
        plan = build(
            adapter,
            pair.sites,
            persons({"num_faceids": count}),
            CROSS["in.uncond_id_tokens"][0],
        )
        plan = with_image_prompt(plan, pair.sites, IMAGE, prompt)
        with injected(pair.sites, plan, Rows(roles)):
            out = pair.cross_attention(SHARE["in.hidden"], SHARE["in.text"])
    assert_near(out, SHARE[f"out.{name}"])


def test_controlnet_needs_nothing_because_people_are_not_in_its_context(pair: Pair):
    with torch.no_grad():
        out = pair.cross_attention(CROSS["in.hidden"], CROSS["in.text"])
    assert_near(out, recorded.tensors("attn_controlnet_small")["out"])
