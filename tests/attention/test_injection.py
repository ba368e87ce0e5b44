"""Tests of injecting people into a UNet and ejecting them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from lib_uniid.attention import identity
from lib_uniid.attention.branch import Prepared
from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.identity import IdentityBranch
from lib_uniid.attention.injection import MOST_READY, injected
from lib_uniid.attention.lora import Deltas, LoRA
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.errors import ConfigError
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from tests.attention.builders import (
    GUIDED,
    Pair,
    hook_count,
    leaves_no_trace,
    narrow_unet,
    null_tokens,
    people,
    predict,
    random_adapter,
    small_pair,
)
from tests.near import assert_near

HALVES = torch.zeros(2, 8, 8)
HALVES[0, :, :4], HALVES[1, :, 4:] = 1.0, 1.0


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return narrow_unet()


@pytest.fixture(scope="module")
def sites(unet: UNet2DConditionModel) -> tuple[Site, ...]:
    return find_sites(unet)


def unet_plan(sites: tuple[Site, ...], count: int) -> Plan | None:
    return build(random_adapter(sites), sites, people(count, 32), null_tokens(32))


# the small pair of layers, for laws that need no UNet


def pair_plan(
    crowd: list[PlannedIdentity], settings: PlanSettings | None = None, router: bool = True
) -> Plan | None:
    pair = small_pair()
    with torch.no_grad():
        return build(random_adapter(pair.sites, router=router), pair.sites, crowd, null_tokens(6), settings)


def attend_to(
    plan: Plan | None,
    roles: tuple[Role, ...] = GUIDED,
    *,
    progress: float = 0.0,
    record: RoutingRecord | None = None,
    pair: Pair | None = None,
) -> Tensor:
    pair = pair or small_pair()
    generator = torch.Generator().manual_seed(5)
    hidden, text = torch.randn(1, 64, 8, generator=generator), torch.randn(1, 5, 6, generator=generator)
    with torch.no_grad(), injected(pair.sites, plan, Rows(roles, progress), record=record):
        return pair.cross_attention(hidden.expand(len(roles), -1, -1), text.expand(len(roles), -1, -1))


def drawn(masks: Tensor = HALVES) -> list[PlannedIdentity]:
    return [replace(person, mask=mask) for person, mask in zip(people(2, 6), masks, strict=True)]


# --- in and out ---


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("merge_lora", [True, False])
def test_eject_leaves_no_trace(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], count: int, merge_lora: bool
):
    plan = unet_plan(sites, count)
    plain = predict(unet)
    with leaves_no_trace(unet), injected(sites, plan, Rows(GUIDED), merge_lora=merge_lora):
        assert not torch.allclose(predict(unet), plain, atol=1e-3)


def test_an_exception_in_the_middle_of_sampling_leaves_no_trace(
    unet: UNet2DConditionModel, sites: tuple[Site, ...]
):
    rows = Rows(GUIDED)

    def sample() -> None:
        with injected(sites, unet_plan(sites, 2), rows):
            predict(unet)
            rows.roles = [Role.COND]
            predict(unet)

    with leaves_no_trace(unet), pytest.raises(ConfigError, match="2 rows and the host named 1"):
        sample()


def test_an_exception_while_injecting_leaves_no_trace(unet: UNet2DConditionModel, sites: tuple[Site, ...]):
    plan = unet_plan(sites, 1)
    assert plan is not None
    broken = replace(plan, merges={**plan.merges, 20: {"to_q": LoRA(3, 5, 1)}})
    with leaves_no_trace(unet), pytest.raises(RuntimeError), injected(sites, broken, Rows(GUIDED)):
        pytest.fail("injected a broken plan")


def test_no_plan_injects_nothing(unet: UNet2DConditionModel, sites: tuple[Site, ...]):
    with leaves_no_trace(unet), injected(sites, None, Rows(GUIDED)):
        assert hook_count(unet) == 0


def test_inference_mode_is_fine(unet: UNet2DConditionModel, sites: tuple[Site, ...]):
    plan = unet_plan(sites, 2)
    with injected(sites, plan, Rows(GUIDED)):
        usual = predict(unet)
    with leaves_no_trace(unet), torch.inference_mode(), injected(sites, plan, Rows(GUIDED)):
        assert torch.equal(predict(unet), usual)


def test_lora_merged_equals_lora_beside(unet: UNet2DConditionModel, sites: tuple[Site, ...]):
    plan = unet_plan(sites, 1)
    outs: list[Tensor] = []
    for merge_lora in (True, False):
        with injected(sites, plan, Rows(GUIDED), merge_lora=merge_lora):
            outs.append(predict(unet))
    torch.testing.assert_close(*outs, rtol=1e-3, atol=1e-4)


def test_the_plan_follows_the_precision_of_the_unet():
    unet = narrow_unet().bfloat16()
    sites = find_sites(unet)
    with injected(sites, unet_plan(sites, 2), Rows(GUIDED)):
        out = predict(unet)
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


# --- rows ---


def test_rows_may_come_in_any_order():
    plan = pair_plan(people(2, 6))
    uncond, cond = attend_to(plan)
    roles = (Role.COND, Role.COND, Role.UNTOUCHED, Role.UNCOND, Role.COND)
    out = attend_to(plan, roles)
    for row, expected in ((0, cond), (1, cond), (3, uncond), (4, cond)):
        assert_near(out[row], expected)
    assert not torch.allclose(out[2], uncond, atol=1e-3)


def test_split_calls_equal_one_call():
    plan = pair_plan(people(2, 6))
    split = [attend_to(plan, (role,))[0] for role in GUIDED]
    assert_near(torch.stack(split), attend_to(plan))


def test_uncond_rows_do_not_depend_on_who_is_there():
    crowd = people(4, 6)
    out = [attend_to(pair_plan(who))[0] for who in (crowd[:2], crowd[2:], [*crowd, crowd[0]])]
    assert_near(out[0], out[1])
    assert_near(out[0], out[2])


def test_uncond_rows_without_uncond_tokens_are_refused():
    pair = small_pair()
    plan = build(random_adapter(pair.sites), pair.sites, people(1, 6), None)
    attend_to(plan, (Role.COND,))
    with pytest.raises(ConfigError, match="no uncond tokens"):
        attend_to(plan)


def test_tokens_per_row_equal_shared_tokens_when_rows_repeat():
    roles = (Role.COND, Role.UNCOND, Role.COND)
    crowd = people(2, 6)
    repeated = [replace(person, tokens=person.tokens.expand(2, -1, -1)) for person in crowd]
    assert_near(attend_to(pair_plan(repeated), roles), attend_to(pair_plan(crowd), roles))


def test_each_row_may_have_people_of_its_own():
    both = people(1, 6, rows=(2,))
    alone = [attend_to(pair_plan([PlannedIdentity(tokens=x)]), (Role.COND,))[0] for x in both[0].tokens]
    assert_near(attend_to(pair_plan(both), (Role.COND,) * 2), torch.stack(alone))


# --- routing ---


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


# --- strength and time ---


def test_the_change_of_a_lora_is_computed_once_for_all_passes_of_a_generation(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], monkeypatch: pytest.MonkeyPatch
):
    plan = unet_plan(sites, 2)
    assert plan is not None
    computed: list[LoRA] = []
    delta = LoRA.delta

    def counted(self: LoRA, device: torch.device | None = None) -> Tensor:
        computed.append(self)
        return delta(self, device)

    monkeypatch.setattr(LoRA, "delta", counted)
    outputs: list[Tensor] = []
    for _ in range(3):
        with injected(sites, plan, Rows(GUIDED)):
            outputs.append(predict(unet))
    assert len(computed) == sum(map(len, plan.merges.values()))
    assert torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_kept_change_of_a_lora_has_the_precision_of_its_layer(dtype: torch.dtype):
    lora = LoRA(4, 6, 2)
    torch.nn.init.normal_(lora.up.weight)
    kept = Deltas().of(lora, torch.zeros(6, 4, dtype=dtype))
    assert kept.dtype == dtype
    torch.testing.assert_close(kept.float(), lora.delta(), rtol=2e-3, atol=1e-6)


def test_identity_scale_0_leaves_only_the_lora():
    silent = attend_to(pair_plan(people(1, 6), PlanSettings(id_scale=0.0)))
    assert not torch.allclose(silent, attend_to(None), atol=1e-3)
    still = attend_to(pair_plan(people(1, 6), PlanSettings(id_scale=0.0, lora_scale=0.0)))
    assert_near(still, attend_to(None))


def test_outside_of_start_and_end_no_attention_is_computed(monkeypatch: pytest.MonkeyPatch):
    plan = pair_plan([replace(people(1, 6)[0], start=0.25, end=0.75)])
    silent = attend_to(pair_plan(people(1, 6), PlanSettings(id_scale=0.0)))
    assert not torch.allclose(attend_to(plan, progress=0.5), silent, atol=1e-3)
    monkeypatch.setattr(identity, "attend", lambda *_: pytest.fail("attended"))
    for progress in (0.0, 0.75, 1.0):
        assert torch.equal(attend_to(plan, progress=progress), silent)


def test_a_person_of_weight_0_is_not_there():
    settings = PlanSettings(latent_size=(8, 8), lora_scale=0.0)
    crowd = [replace(drawn()[0], weight=0.0), drawn()[1]]
    out = attend_to(pair_plan(crowd, settings))
    left = HALVES[0].flatten().bool()
    assert_near(out[:, left], attend_to(None)[:, left])


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many image tokens each call has that a branch is prepared for."""
    made: list[int] = []
    original = IdentityBranch.prepare

    def counting(branch: IdentityBranch, state: object, query: Tensor, rows: Rows) -> Prepared:
        made.append(query.shape[1])
        return original(branch, state, query, rows)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(IdentityBranch, "prepare", counting)
    return made


def test_nothing_is_prepared_again_while_nothing_changes(monkeypatch: pytest.MonkeyPatch):
    made = counted(monkeypatch)
    pair, rows = small_pair(), Rows([Role.COND])
    with torch.no_grad(), injected(pair.sites, pair_plan(people(2, 6)), rows):
        for step in range(5):
            rows.progress = step / 5
            pair.cross_attention(torch.randn(1, 64, 8), torch.randn(1, 5, 6))
        assert made == [64]
        pair.cross_attention(torch.randn(1, 16, 8), torch.randn(1, 5, 6))
    assert made == [64, 16]


def test_nothing_is_prepared_again_where_two_kinds_of_calls_take_turns(monkeypatch: pytest.MonkeyPatch):
    """As in a host that asks for cond and uncond apart."""
    made = counted(monkeypatch)
    pair, rows = small_pair(), Rows(())
    with torch.no_grad(), injected(pair.sites, pair_plan(people(2, 6)), rows):
        for _ in range(3):
            for role in GUIDED:
                rows.roles = (role,)
                pair.cross_attention(torch.randn(1, 64, 8), torch.randn(1, 5, 6))
    assert made == [64, 64]


def test_what_is_kept_ready_is_bounded(monkeypatch: pytest.MonkeyPatch):
    made = counted(monkeypatch)
    pair = small_pair()
    with torch.no_grad(), injected(pair.sites, pair_plan(people(1, 6)), Rows([Role.COND])):
        for places in [*range(1, MOST_READY + 2), MOST_READY + 1, 1]:
            pair.cross_attention(torch.randn(1, places, 8), torch.randn(1, 5, 6))
    assert len(made) == MOST_READY + 2


# --- all rows at once ---


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "roles",
    [GUIDED, GUIDED[::-1], (Role.UNCOND,), (Role.COND,), (Role.COND, Role.COND, Role.UNCOND, Role.UNCOND)],
)
def test_rows_attended_to_together_are_as_those_attended_to_apart(
    count: int, roles: tuple[Role, ...], monkeypatch: pytest.MonkeyPatch
):
    plan, records = pair_plan(people(count, 6)), (RoutingRecord(), RoutingRecord())
    assert plan is not None
    together = attend_to(plan, roles, record=records[0])
    monkeypatch.setattr(identity.AllAtOnce, "of", lambda *_: None)
    assert_near(together, attend_to(plan, roles, record=records[1]))
    for index, routing in records[1].maps.items():
        assert torch.equal(records[0].maps[index], routing)
    assert records[0].maps.keys() == records[1].maps.keys()


def test_each_cond_row_may_have_people_of_its_own_where_rows_are_attended_to_together(
    monkeypatch: pytest.MonkeyPatch,
):
    plan, roles = pair_plan(people(2, 6, rows=(2,))), (Role.UNCOND, Role.COND, Role.COND)
    together = attend_to(plan, roles)
    assert not torch.allclose(together[1], together[2], atol=1e-3)
    monkeypatch.setattr(identity.AllAtOnce, "of", lambda *_: None)
    assert_near(together, attend_to(plan, roles))


@pytest.mark.parametrize(("count", "bound"), [(1, 2), (2, 8), (4, 8)])
def test_a_guided_call_adds_few_operations_to_a_site(count: int, bound: int):
    """Where the program is what a step waits for, their number is what people cost."""
    with_people, plain = (operations(plan) for plan in (pair_plan(people(count, 6)), None))
    assert len(with_people) - len(plain) <= bound, with_people


class _Operations(TorchDispatchMode):
    """Operations that compute something, by name: no views, nothing that only reads shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not func.is_view:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operations(plan: Plan | None) -> list[str]:
    """Of the second call of the pair's cross-attention."""
    pair, counter = small_pair(), _Operations()
    hidden, text = torch.randn(2, 64, 8), torch.randn(2, 5, 6)
    with torch.no_grad(), injected(pair.sites, plan, Rows(GUIDED)):
        pair.cross_attention(hidden, text)
        with counter:
            pair.cross_attention(hidden, text)
    return counter.names


def test_calls_with_and_without_inference_mode_may_take_turns():
    pair = small_pair()
    with torch.no_grad(), injected(pair.sites, pair_plan(people(2, 6)), Rows(GUIDED)):
        hidden, text = torch.randn(2, 64, 8), torch.randn(2, 5, 6)
        with torch.inference_mode():
            first = pair.cross_attention(hidden, text)
        assert torch.equal(pair.cross_attention(hidden, text), first)
