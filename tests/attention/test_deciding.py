"""Tests of decisions that the layers of a transformer share, and that are held from step to step."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_uniid.attention.branch import Call
from lib_uniid.attention.deciding import (
    AS_SCORED,
    UNTRAINED,
    Deciding,
    Router,
    SharedRouting,
    deciding,
    kept_grid,
    leaders_of,
)
from lib_uniid.attention.injection import injected
from lib_uniid.attention.math import grid_of, route
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.routing import routing_rule
from lib_uniid.attention.rows import Role, Rows, RowSpan
from lib_uniid.attention.sites import find_sites
from lib_uniid.errors import ConfigError
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from tests.attention.builders import GUIDED, null_tokens, people, random_adapter
from tests.narrow_xl import POOLED, TEXT_WIDTH, TEXT_WIDTH_2, narrow_unet
from tests.near import assert_near

CONTEXT, TRANSFORMERS, SIZE = TEXT_WIDTH + TEXT_WIDTH_2, 11, (16, 16)
HELD = Deciding(smooth=0.2, balance="share", keep=0.9, order=0.1)


class XL:
    """A narrow SDXL UNet; ``step`` predicts for these rows of the same latents."""

    def __init__(self, device: str = "cpu") -> None:
        self.unet = narrow_unet()
        nn.Module.to(self.unet, device)
        self.sites, self.device = find_sites(self.unet), device

    def plan(self, count: int, settings: PlanSettings, **masks: Any) -> Plan:
        adapter = random_adapter(find_sites(narrow_unet())).to(self.device)
        crowd = [replace(one, tokens=one.tokens.to(self.device)) for one in people(count, CONTEXT)]
        for number, mask in masks.items():
            crowd[int(number[1:])] = replace(crowd[int(number[1:])], mask=mask)
        with torch.no_grad():
            plan = build(adapter, self.sites, crowd, null_tokens(CONTEXT).to(self.device), settings)
        assert plan is not None
        return plan

    @torch.no_grad()
    def step(self, rows: int = 2, only: slice = slice(None), seed: int = 4) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        latents = torch.randn(1, 4, *SIZE, generator=generator).expand(rows, -1, -1, -1)
        text = torch.randn(rows, 7, CONTEXT, generator=generator)
        pooled, ids = torch.randn(rows, POOLED, generator=generator), torch.ones(rows, 6)
        latents, text, pooled, ids = (x[only].to(self.device) for x in (latents, text, pooled, ids))
        added = {"text_embeds": pooled, "time_ids": ids}
        return self.unet(latents, 500, encoder_hidden_states=text, added_cond_kwargs=added).sample


def settings(trained: bool = False, how: Deciding = AS_SCORED, **others: Any) -> PlanSettings:
    return PlanSettings(trained=trained, deciding=how, latent_size=SIZE, lora_scale=0.0, **others)


@dataclass
class Counted:
    """A router that counts its calls."""

    inner: Router
    calls: list[int] = field(default_factory=list[int])

    def to(self, like: Tensor) -> "Counted":
        return Counted(self.inner.to(like), self.calls)

    def of(self, run: RowSpan) -> "Counted":
        return Counted(self.inner.of(run), self.calls)

    def __call__(self, query: Tensor, hidden: Tensor) -> Tensor:
        self.calls.append(query.shape[1])
        return self.inner(query, hidden)


def test_leaders_are_the_first_cross_layers_of_their_transformers():
    sites = XL().sites
    leaders = leaders_of(sites)
    assert len(leaders) == 70
    assert len(set(leaders.values())) == TRANSFORMERS
    by_index = {site.index: site for site in sites}
    for follower, leader in leaders.items():
        assert by_index[leader].name.endswith("transformer_blocks.0.attn2")
        assert by_index[leader].transformer == by_index[follower].transformer


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("roles", [GUIDED, (Role.COND, Role.UNCOND, Role.COND)])
def test_only_leaders_work_and_the_others_use_their_map(
    trained: bool, rescaled: bool, roles: tuple[Role, ...]
):
    """With the rows of one role apart, each run has an attention of its own."""
    xl, record = XL(), RoutingRecord()
    plan = xl.plan(2, settings(trained, rescaled=rescaled))
    assert plan.routing
    routers, leaders = plan.routing.routers, plan.routing.leaders
    assert routers.keys() == set(leaders.values())
    counted = {leader: Counted(router) for leader, router in routers.items()}
    routers.update(counted)
    with injected(xl.sites, plan, Rows(roles), record=record):
        xl.step(len(roles))
    conds = len([run for run in Rows(roles).runs if run.role is Role.COND])
    assert [len(one.calls) for one in counted.values()] == [conds] * TRANSFORMERS
    assert record.maps.keys() == leaders.keys()
    for site, leader in leaders.items():
        assert torch.equal(record.maps[site], record.maps[leader])


@pytest.mark.parametrize("how", [AS_SCORED, HELD])
@pytest.mark.parametrize("trained", [False, True])
def test_cond_and_uncond_may_be_computed_apart(how: Deciding, trained: bool):
    xl = XL()
    plan, rows = xl.plan(2, settings(trained, how)), Rows(GUIDED)
    steps = (0.0, 0.5)
    with injected(xl.sites, plan, rows):
        together = [_at(xl, rows, progress, GUIDED, slice(None)) for progress in steps]
    with injected(xl.sites, plan, rows):
        for progress, expected in zip(steps, together, strict=True):
            parts = [_at(xl, rows, progress, (role,), slice(row, row + 1)) for row, role in enumerate(GUIDED)]
            assert_near(torch.cat(parts), expected, 1e-4)


def _at(xl: XL, rows: Rows, progress: float, roles: tuple[Role, ...], only: slice, before: int = 0) -> Tensor:
    rows.progress, rows.roles, rows.before = progress, roles, before
    return xl.step(only=only)


def test_cond_rows_of_their_own_calls_keep_their_own_decisions():
    """As in a host that computes the rows of AND prompts one after the other."""
    xl, roles = XL(), (Role.COND,) * 2
    plan, rows = xl.plan(2, settings(how=HELD)), Rows(roles)
    with injected(xl.sites, plan, rows):
        together = [_at(xl, rows, progress, roles, slice(None)) for progress in (0.0, 0.5)]
    with injected(xl.sites, plan, rows):
        for progress, expected in zip((0.0, 0.5), together, strict=True):
            parts = [_at(xl, rows, progress, roles[:1], slice(row, row + 1), before=row) for row in range(2)]
            assert_near(torch.cat(parts), expected, 1e-4)


@pytest.mark.parametrize("anew", ["injected again", "from the first step again"])
def test_a_new_pass_begins_without_memory(anew: str):
    xl = XL()
    plan, rows = xl.plan(2, settings(how=HELD)), Rows(GUIDED)
    with injected(xl.sites, plan, rows):
        first = _at(xl, rows, 0.0, GUIDED, slice(None))
        assert not torch.equal(_at(xl, rows, 0.0, GUIDED, slice(None)), first)  # it is held
        _at(xl, rows, 0.5, GUIDED, slice(None))
        if anew != "injected again":
            assert torch.equal(_at(xl, rows, 0.0, GUIDED, slice(None)), first)
    with injected(xl.sites, plan, rows):
        assert torch.equal(_at(xl, rows, 0.0, GUIDED, slice(None)), first)
    assert plan.routing
    assert not plan.routing.latest


def test_nothing_waits_for_the_device():
    """Reading a value back from the meta device raises."""
    xl = XL("meta")
    for how in (AS_SCORED, HELD):
        plan = xl.plan(2, settings(how=how))
        assert plan.routing
        if how is HELD:
            plan.routing.see()
        with injected(xl.sites, plan, Rows(GUIDED)):
            assert xl.step().shape == (2, 4, *SIZE)


def test_afterwards_the_unet_computes_what_it_did_before():
    xl = XL()
    before = xl.step()
    with injected(xl.sites, xl.plan(3, settings(how=HELD)), Rows(GUIDED)):
        assert not torch.equal(xl.step(), before)
    assert torch.equal(xl.step(), before)


# --- one leader alone ---


@dataclass
class Fixed:
    """A router that gives these scores."""

    scores: Tensor

    def to(self, like: Tensor) -> "Fixed":
        return self

    def of(self, run: RowSpan) -> "Fixed":
        return Fixed(self.scores[run.entries])

    def __call__(self, query: Tensor, hidden: Tensor) -> Tensor:
        return self.scores


def decided(routing: SharedRouting, scores: Tensor, progress: float = 0.0) -> Tensor:
    """The map of cond rows with these scores, ``b n i``."""
    routing.routers[1] = Fixed(scores)
    routing._ready.clear()  # pyright: ignore[reportPrivateUsage]
    query = torch.zeros(len(scores), scores.shape[1], 4)
    rows = Rows([Role.COND] * len(scores), progress)
    found = routing.at(Call(site=1, rows=rows, query=query, hidden=query, text=query, record=None))
    return route(found.scores)


def shared(count: int, how: Deciding, masks: Any = None) -> SharedRouting:
    rule = routing_rule(masks or [None] * count, "auto", SIZE)
    return SharedRouting(rule=rule, leaders={1: 1}, deciding=how, latent_size=SIZE)


def noise(count: int, rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(rows, 256, count, generator=torch.Generator().manual_seed(seed))


def left_to_right(routed: Tensor) -> list[float]:
    """The mean column of each person's places in the first row."""
    columns = torch.arange(256).remainder(16).float()
    return [float(columns[routed[0, :, i] == 1].mean()) for i in range(routed.shape[2])]


def test_people_stand_in_the_asked_order_and_a_free_order_breaks_ties():
    asked = left_to_right(decided(shared(3, deciding("left to right", UNTRAINED)), noise(3)))
    assert asked == sorted(asked)
    assert asked[0] < 4.0
    assert asked[2] > 12.0
    equal = left_to_right(decided(shared(2, UNTRAINED), torch.zeros(1, 256, 2)))
    assert equal == sorted(equal)


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_clear_evidence_changes_a_free_order_and_no_asked_one(progress: float):
    against = torch.arange(256).remainder(16).lt(8).float()[None, :, None] * torch.tensor([-1.0, 1.0])
    asked = left_to_right(decided(shared(2, deciding("left to right", UNTRAINED)), against, progress))
    assert asked == sorted(asked)
    free = left_to_right(decided(shared(2, UNTRAINED), against, progress))
    assert free == sorted(free, reverse=True)


def test_a_decision_is_held_against_a_passing_doubt():
    routing = shared(2, replace(HELD, order=0.0))
    sides = torch.arange(256).remainder(16).lt(8).float()[None, :, None] * torch.tensor([1.0, -1.0])
    first = decided(routing, sides)
    for _ in range(5):
        decided(routing, sides)
    assert torch.equal(decided(routing, -sides), first)
    assert not torch.equal(decided(shared(2, replace(HELD, order=0.0)), -sides), first)


def test_each_row_decides_for_itself():
    both = torch.cat([noise(3), noise(3, seed=1)])
    together = [decided(routing := shared(3, HELD), both), decided(routing, both)]
    for row in range(2):
        routing = shared(3, HELD)
        for step in together:
            assert torch.equal(decided(routing, both[row : row + 1]), step[row : row + 1])


def test_masks_win_and_the_others_share_the_rest_in_their_order():
    mask = torch.zeros(16, 16)
    mask[:, :4] = 1.0
    routing = shared(3, deciding("left to right", UNTRAINED), [None, mask, None])
    routed = decided(routing, noise(3))
    assert not routed[..., 1].any()
    first, _, last = left_to_right(routed)
    assert first < last
    fixed = routing.rule.fixed_at(256)
    assert fixed is not None
    whole = routing.rule.complete(routed, fixed[None], None)
    assert torch.equal(whole[0, :, 1], mask.flatten())
    assert_near(whole.sum(-1), torch.ones(1, 256))


def test_settings_out_of_range_and_a_missing_size_are_refused():
    with pytest.raises(ConfigError, match="keep in"):
        Deciding(keep=1.0)
    with pytest.raises(ConfigError, match="latent size"):
        SharedRouting(rule=routing_rule([None] * 2, "auto", None), leaders={}, deciding=UNTRAINED)


def test_merged_tokens_are_refused():
    xl = XL()
    plan = xl.plan(2, settings())
    assert plan.routing
    follower = next(site for site, leader in plan.routing.leaders.items() if site != leader)
    plan.routing.latest[plan.routing.leaders[follower]] = decided_of(64)
    query = torch.zeros(1, 60, 4)
    with pytest.raises(ConfigError, match="64 and 60 image tokens"):
        plan.routing.at(
            Call(site=follower, rows=Rows([Role.COND]), query=query, hidden=query, text=query, record=None)
        )


def decided_of(tokens: int) -> Any:
    from lib_uniid.attention.deciding import Decided

    return Decided(torch.zeros(1, tokens, 2))


def test_the_grid_is_that_of_the_latent_or_of_its_proportions():
    assert grid_of(48, (16, 12)) == (8, 6)
    assert grid_of(96 * 72, (64, 48)) == (96, 72)
    assert kept_grid((128, 96)) == (32, 24)
    with pytest.raises(ConfigError, match="97 image tokens"):
        grid_of(97, (16, 12))
