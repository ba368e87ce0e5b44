"""Tests of what is fixed in one generation."""

import math

import pytest
import torch

from lib_uniid.attention.deciding import AS_SCORED, ORDER, deciding
from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.identity import IdentityBranch
from lib_uniid.attention.plan import Plan
from lib_uniid.errors import CheckpointMismatchError, ConfigError, MissingModelError
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from tests.attention.builders import null_tokens, people, random_adapter, small_pair

PAIR = small_pair()
HALVES = torch.zeros(2, 8, 8)
HALVES[0, :, :4], HALVES[1, :, 4:] = 1.0, 1.0


def plan_of(count: int, *, router: bool = True, settings: PlanSettings | None = None) -> Plan | None:
    return build(
        random_adapter(PAIR.sites, router=router), PAIR.sites, people(count, 6), null_tokens(6), settings
    )


def identity(plan: Plan) -> IdentityBranch:
    (branch,) = plan.branches[1]
    assert isinstance(branch, IdentityBranch)
    return branch


def test_without_people_there_is_no_plan():
    assert plan_of(0) is None


def test_keys_and_values_are_projected_per_person():
    adapter, crowd = random_adapter(PAIR.sites), people(3, 6)
    plan = build(adapter, PAIR.sites, crowd, null_tokens(6))
    assert plan is not None
    value = adapter.faceid_site(1).to_v_faceid(crowd[2].tokens)
    torch.testing.assert_close(identity(plan).kv.value[0, :, 2], value.unflatten(-1, (2, 4)).transpose(0, 1))


@pytest.mark.parametrize(("count", "chosen"), [(1, "single"), (2, "multi"), (3, "multi")])
def test_the_lora_set_goes_by_the_number_of_people(count: int, chosen: str):
    adapter = random_adapter(PAIR.sites)
    plan = build(adapter, PAIR.sites, people(count, 6), null_tokens(6))
    assert plan is not None
    assert plan.merges[0] == adapter.lora("single" if chosen == "single" else "multi", 0)


def test_the_router_is_prepared_only_where_it_has_a_choice():
    drawn = [
        PlannedIdentity(tokens=person.tokens, mask=mask)
        for person, mask in zip(people(2, 6), HALVES, strict=True)
    ]
    adapter, size = random_adapter(PAIR.sites), PlanSettings(latent_size=(8, 8))
    plans = [
        build(adapter, PAIR.sites, who, null_tokens(6), size) for who in (people(2, 6), people(1, 6), drawn)
    ]
    assert [plan is not None and list(identity(plan).routing.routers) for plan in plans] == [[1], [], []]


def test_without_the_router_file_several_people_need_masks():
    with pytest.raises(MissingModelError, match="draw a mask for each person"):
        plan_of(2, router=False)
    assert plan_of(2, router=False, settings=PlanSettings(routing="off")) is not None


def test_a_person_is_there_from_start_to_before_end():
    person = PlannedIdentity(tokens=torch.zeros(4, 6), start=0.25, end=0.5)
    assert [person.present(x) for x in (0.0, 0.25, 0.49, 0.5, 1.0)] == [False, True, True, False, False]
    assert PlannedIdentity(tokens=torch.zeros(4, 6)).present(1.0)


def test_gains_are_scale_times_weight_of_those_present():
    crowd = [
        PlannedIdentity(tokens=torch.zeros(4, 6), weight=0.5),
        PlannedIdentity(tokens=torch.ones(4, 6), start=0.5),
    ]
    plan = build(random_adapter(PAIR.sites), PAIR.sites, crowd, null_tokens(6), PlanSettings(id_scale=0.8))
    assert plan is not None
    assert identity(plan).state(0.0) == (0.4, 0.0)
    assert identity(plan).state(0.5) == (0.4, 0.8)


def test_an_adapter_of_another_unet_is_refused():
    wide, deep = small_pair(width=16).sites, PAIR.sites * 2
    with pytest.raises(CheckpointMismatchError, match=r"0\.to_k_lora maps 8 to 8 channels"):
        build(random_adapter(PAIR.sites), wide, people(1, 6), null_tokens(6))
    with pytest.raises(CheckpointMismatchError, match="2 attention layers and this UNet has 4"):
        build(random_adapter(PAIR.sites), deep, people(1, 6), null_tokens(6))


def test_people_must_have_tokens_of_one_shape():
    crowd = [PlannedIdentity(tokens=torch.zeros(4, 6)), PlannedIdentity(tokens=torch.zeros(5, 6))]
    with pytest.raises(ConfigError, match="tokens of one shape"):
        build(random_adapter(PAIR.sites), PAIR.sites, crowd, null_tokens(6))


@pytest.mark.parametrize("weight", [math.nan, -0.1, 2.1])
def test_a_weight_outside_its_range_is_refused(weight: float):
    with pytest.raises(ConfigError, match="weight"):
        PlannedIdentity(tokens=torch.zeros(4, 6), weight=weight)


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0)])
def test_start_must_lie_before_end(start: float, end: float):
    with pytest.raises(ConfigError, match="start and end"):
        PlannedIdentity(tokens=torch.zeros(4, 6), start=start, end=end)


@pytest.mark.parametrize("scale", [math.nan, -0.1, 2.1])
def test_scales_outside_their_ranges_are_refused(scale: float):
    with pytest.raises(ConfigError, match="identity scale"):
        PlanSettings(id_scale=scale)
    with pytest.raises(ConfigError, match="LoRA scale"):
        PlanSettings(lora_scale=scale)


def test_the_order_of_the_request_and_the_published_routing_are_what_the_method_plans_with():
    adapter = random_adapter(PAIR.sites)
    free, asked = (deciding(order, AS_SCORED) for order in ("free", "left to right"))
    assert (free, asked.order) == (AS_SCORED, ORDER)
    for how in (free, asked):
        settings = PlanSettings(latent_size=(8, 8), deciding=how)
        plan = build(adapter, PAIR.sites, people(2, 6), null_tokens(6), settings)
        assert plan is not None
        assert plan.routing is not None
        assert plan.routing.deciding == how
