"""Tests of which person a place of the picture gets, by masks, weights and the router."""

from dataclasses import replace

import torch
from torch.nn import functional

from lib_uniid.attention.injection import injected
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from tests.attention.builders import (
    people,
    random_adapter,
    small_pair,
)
from tests.attention.pairs import HALVES, attend_to, drawn, pair_plan
from tests.near import assert_near


def test_permuting_people_permutes_the_routing_and_not_the_picture():
    crowd, records = people(3, 6), [RoutingRecord(), RoutingRecord()]
    order = [2, 0, 1]
    one = attend_to(pair_plan(crowd), record=records[0])
    other = attend_to(pair_plan([crowd[i] for i in order]), record=records[1])
    assert_near(one, other)
    assert torch.equal(records[0].maps[1][..., order], records[1].maps[1])


def test_drawn_masks_override_the_router():
    record = RoutingRecord()
    attend_to(pair_plan(drawn(), PlanSettings(latent_size=(8, 8))), record=record)
    assert record.logits == {}
    assert torch.equal(record.maps[1][0, :, 1].unflatten(0, (8, 8)), HALVES[1])


def test_swapping_masks_swaps_people():
    settings = PlanSettings(latent_size=(8, 8))
    crowd = drawn()
    swapped = [replace(crowd[1], mask=HALVES[0]), replace(crowd[0], mask=HALVES[1])]
    one, other = (attend_to(pair_plan(who, settings), (Role.COND,)) for who in (crowd, swapped))
    alone = [
        attend_to(pair_plan([who, who], PlanSettings(routing="off")), (Role.COND,)) for who in people(2, 6)
    ]
    left = HALVES[0].flatten().bool()
    assert_near(one[:, left], alone[0][:, left])
    assert_near(other[:, left], alone[1][:, left])


def test_outside_all_masks_nothing_is_added():
    settings = PlanSettings(latent_size=(8, 8), lora_scale=0.0)
    out = attend_to(pair_plan(drawn(HALVES * torch.eye(8)), settings))
    off = ~torch.eye(8).flatten().bool()
    assert_near(out[:, off], attend_to(None)[:, off])
    assert not torch.allclose(out[:, ~off], attend_to(None)[:, ~off], atol=1e-3)


def test_off_is_the_mean_of_all_people():
    crowd = people(2, 6)
    mean = attend_to(pair_plan(crowd, PlanSettings(routing="off")))
    alone = [attend_to(pair_plan([who, who], PlanSettings(routing="off"))) for who in crowd]
    assert_near(mean, (alone[0] + alone[1]) / 2)


def test_a_soft_choice_is_used_and_recorded_with_its_gradient():
    pair = small_pair()
    adapter, record = random_adapter(pair.sites), RoutingRecord()
    choose = PlanSettings(choose=lambda logits: functional.gumbel_softmax(logits, tau=1.0, dim=-1))
    plan = build(adapter, pair.sites, people(2, 6, rows=(3,)), None, choose)
    with injected(pair.sites, plan, Rows([Role.COND] * 3), merge_lora=False, record=record):
        out = pair.cross_attention(torch.randn(3, 64, 8), torch.randn(3, 5, 6))
    assert record.maps[1].shape == record.logits[1].shape == (3, 64, 2)
    (out.square().sum() + record.logits[1].softmax(-1).square().sum()).backward()
    router = adapter.router_site(1)
    trained = [router, adapter.faceid_site(1).to_k_faceid, adapter.faceid_site(1).to_v_faceid]
    # one constant on both people's keys moves no choice, so the bias that adds it cannot learn from the map
    learning = {
        name for part in trained for name, x in part.named_parameters() if x.grad is not None and x.grad.any()
    }
    assert learning >= {
        "to_q_router.0.weight",
        "to_q_router.2.weight",
        "to_k_router.0.weight",
        "aggr_router.weight",
    }
    assert learning >= {"to_q_lora.up.weight", "to_out_lora.down.weight", "weight"}


def test_a_person_of_weight_0_is_not_there():
    settings = PlanSettings(latent_size=(8, 8), lora_scale=0.0)
    crowd = [replace(drawn()[0], weight=0.0), drawn()[1]]
    out = attend_to(pair_plan(crowd, settings))
    left = HALVES[0].flatten().bool()
    assert_near(out[:, left], attend_to(None)[:, left])
