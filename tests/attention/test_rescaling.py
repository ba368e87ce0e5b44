"""Tests of normalized rescaling, and its parity with the official code."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor

from lib_uniid.attention import identity
from lib_uniid.attention.branch import Call
from lib_uniid.attention.deciding import SharedRouting
from lib_uniid.attention.identities import Gains, Merge, PlannedIdentity
from lib_uniid.attention.identity import IdentityBranch, IdentityKV
from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rescaling import ratio, times
from lib_uniid.attention.routing import routing_rule
from lib_uniid.attention.rows import Role, Rows
from tests import recorded_uniid as recorded
from tests.attention.builders import GUIDED, Pair, attention, people
from tests.attention.pairs import HALVES, rescaled_plan
from tests.near import assert_near

RECORDED, WEIGHTS = recorded.tensors("ip_attn"), recorded.weights("ip_attn")
CASES = {one["name"]: one for one in recorded.notes("ip_attn")["cases"]}
HEADS = 4


def projected(tokens: Tensor, projection: str) -> Tensor:
    weight = WEIGHTS[f"processor.{projection}.weight"]
    return rearrange(tokens @ weight.T, "r k (h c) -> r h k c", h=HEADS)


def branch(people: Tensor, null: Tensor | None, scale: float, *, rescaled: bool) -> IdentityBranch:
    """The recorded adapter as one person; ``people`` is ``r k d`` and ``null`` is ``1 k d``."""
    key, value = (projected(people, name)[:, :, None] for name in ("to_k_ip", "to_v_ip"))
    kv = IdentityKV(
        key=key,
        value=value,
        null=None if null is None else (projected(null, "to_k_ip"), projected(null, "to_v_ip")),
    )
    gains = Gains([PlannedIdentity(tokens=people)], scale)
    routing = SharedRouting(rule=routing_rule([None], "auto", None), leaders={1: 1})
    return IdentityBranch(kv=kv, routing=routing, gains=gains, rescaled=rescaled)


def recorded_pair(dtype: torch.dtype) -> Pair:
    cross = Attention(query_dim=32, cross_attention_dim=40, heads=HEADS, dim_head=8)
    cross.load_state_dict({name: x for name, x in WEIGHTS.items() if "processor" not in name})
    return Pair(attention(32), cross.to(dtype))


@pytest.mark.golden
@pytest.mark.parametrize("roles", [(Role.COND, Role.COND), (Role.UNCOND, Role.COND)])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_an_injected_layer_is_the_official_one(
    name: str, apart: bool, roles: tuple[Role, ...], monkeypatch: pytest.MonkeyPatch
):
    """The official code scales the uncond row as it does the cond row."""
    if apart:
        monkeypatch.setattr(identity.AllAtOnce, "of", lambda *_: None)
    dtype = torch.float16 if CASES[name].get("dtype") == "float16" else torch.float32
    tokens = RECORDED.get(f"ipin.{name}", RECORDED["in.ip"])
    guided = roles[0] is Role.UNCOND
    people, null = (tokens[1:], tokens[:1]) if guided else (tokens, None)
    one = branch(people, null, CASES[name]["scale"], rescaled=CASES[name]["normalize"])
    pair = recorded_pair(dtype)
    hidden, text = (RECORDED[f"in.{what}"].to(dtype) for what in ("hidden", "text"))
    with torch.no_grad(), injected(pair.sites, Plan(branches={1: (one,)}), Rows(roles)):
        made = pair.cross_attention(hidden, text)
    assert_near(made, RECORDED[f"out.{name}"], CASES[name].get("tol", 1e-5))


def test_each_row_gets_the_norm_of_its_own_text():
    text, branch = torch.randn(2, 3, 4, 5).unbind()
    made = ratio(text, branch) * branch
    assert_near(made.norm(dim=(1, 2)), text.norm(dim=(1, 2)))


def test_norms_that_float16_cannot_hold_are_made_in_float32():
    text, branch = torch.full((1, 64, 64), 3000.0).half(), torch.full((1, 64, 64), 0.5).half()
    assert_near(ratio(text, branch), torch.full((1, 1, 1), 6000.0), 0.1)


@pytest.mark.parametrize("grad", [False, True])
def test_a_branch_of_zeros_stays_zeros_in_float16_whatever_its_factor(grad: bool):
    zeros, text = torch.zeros(1, 4, 4).half(), torch.ones(1, 4, 4).half()
    with torch.set_grad_enabled(grad):
        assert torch.equal(times(zeros, ratio(text, zeros)), zeros)


def added(crowd: list[PlannedIdentity], roles: tuple[Role, ...] = GUIDED, **settings: Any) -> Tensor:
    """What the pair's cross-attention gets beside ``TEXT``, before its last projection."""
    plan = rescaled_plan(crowd, **settings)
    assert plan is not None
    one, rows = plan.branches[1][0], Rows(roles)
    query = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(6)).expand(len(roles), -1, -1)
    call = Call(
        site=1, rows=rows, query=query, hidden=query, text=TEXT.expand(len(roles), -1, -1), record=None
    )
    with torch.no_grad():
        return one.prepare(one.state(0.0), query, rows)(call)


TEXT = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(7))
SIZES: list[dict[str, Any]] = [{}, {"routing": "off"}, {"latent_size": (8, 8)}]


def crowd_for(settings: dict[str, Any], *weights: float) -> list[PlannedIdentity]:
    masks = HALVES if "latent_size" in settings else [None, None]
    return [
        replace(one, weight=weight, mask=mask)
        for one, weight, mask in zip(people(2, 6), weights, masks, strict=True)
    ]


@pytest.mark.parametrize("settings", SIZES)
def test_all_identities_of_a_row_together_get_the_norm_of_the_text(settings: dict[str, Any]):
    made = added(crowd_for(settings, 1.0, 1.0), **settings)
    assert_near(made.norm(dim=(1, 2)), TEXT.norm().expand(2))


@pytest.mark.parametrize("settings", SIZES)
def test_one_weight_of_all_people_is_a_factor(settings: dict[str, Any]):
    whole = added(crowd_for(settings, 1.0, 1.0), **settings)
    assert_near(added(crowd_for(settings, 0.5, 0.5), **settings), 0.5 * whole)


@pytest.mark.parametrize("settings", SIZES)
def test_a_persons_weight_changes_that_persons_part_and_no_other(settings: dict[str, Any]):
    """Rescaled after the weights, the other person would become stronger."""
    alone = [added(crowd_for(settings, *pair), **settings)[1] for pair in ((1.0, 0.0), (0.0, 1.0))]
    both = added(crowd_for(settings, 0.5, 1.5), **settings)[1]
    assert not torch.allclose(alone[0], torch.zeros_like(both), atol=1e-3)
    assert_near(both, 0.5 * alone[0] + 1.5 * alone[1])


def test_uncond_rows_have_the_mean_strength_of_their_place():
    settings = SIZES[2]
    whole = added(crowd_for(settings, 1.0, 1.0), **settings)[0].unflatten(0, (8, 8))
    made = added(crowd_for(settings, 0.5, 1.5), **settings)[0].unflatten(0, (8, 8))
    assert_near(made[:, :4], 0.5 * whole[:, :4])
    assert_near(made[:, 4:], 1.5 * whole[:, 4:])
    assert_near(added(people(1, 6))[0], added(crowd_for({}, 0.5, 1.5))[0])


def test_norms_are_compared_in_the_covered_places():
    quarter = torch.zeros(8, 8)
    quarter[:4, :4] = 1.0
    made = added([replace(people(1, 6)[0], mask=quarter)], latent_size=(8, 8)).unflatten(1, (8, 8))
    inside = TEXT.unflatten(1, (8, 8))[:, :4, :4].norm().expand(2)
    assert_near(made[:, :4, :4].flatten(1).norm(dim=1), inside)
    assert_near(made.flatten(1).norm(dim=1), inside)


def test_a_mask_of_the_whole_picture_is_no_mask():
    whole = [replace(people(1, 6)[0], mask=torch.ones(8, 8))]
    assert_near(added(whole, latent_size=(8, 8)), added(people(1, 6)))


def test_rows_without_a_branch_get_nothing_and_do_not_count():
    roles = (Role.UNTOUCHED, *GUIDED, Role.STYLE)
    made = added(people(2, 6), roles)
    assert_near(made[1:3], added(people(2, 6)))
    assert not made[0].any()
    assert not made[3].any()


def test_the_sum_is_rescaled_in_each_state_and_keys_and_values_are_held_once():
    plan = rescaled_plan(people(2, 6))
    assert plan is not None
    (one,) = plan.branches[1]
    assert isinstance(one, IdentityBranch)
    one = replace(one, gains=Gains(people(2, 6), 1.0, Merge(before=0.5, after=1.5, start=0.5)))
    rows, query = Rows(GUIDED), torch.randn(2, 64, 8)
    call = Call(site=1, rows=rows, query=query, hidden=query, text=TEXT.expand(2, -1, -1), record=None)
    early, late = (one.prepare(one.state(at), query, rows) for at in (0.0, 0.5))
    assert_near(3.0 * early(call), late(call))
    small = one.prepare(one.state(0.0), query[:, :16], rows)
    keys = {prepared.inner.key.data_ptr() for prepared in (early, late, small)}  # pyright: ignore
    assert len(keys) == 1
