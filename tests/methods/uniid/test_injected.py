"""Tests of UniID's plan in a narrow SDXL UNet, and of what it keeps at the official sizes."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.identity import IdentityBranch
from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.bases import SDXL
from lib_uniid.methods.uniid import plan as planning
from lib_uniid.methods.uniid.loading import Projections
from lib_uniid.methods.uniid.method import UniID
from lib_uniid.methods.uniid.plan import AdapterPart, build
from tests import narrow_xl
from tests.attention.builders import hook_count
from tests.methods.uniid.builders import TEXT_WIDTHS, weights
from tests.methods.uniid.test_method import BOTH, person, planned
from tests.near import assert_near

GUIDED = (Role.UNCOND, Role.COND)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return narrow_xl.narrow_unet(cross_attention_dim=sum(TEXT_WIDTHS))


@pytest.fixture(scope="module")
def sites(unet: UNet2DConditionModel) -> tuple[Site, ...]:
    return find_sites(unet)


@pytest.fixture(scope="module")
def method() -> UniID:
    return UniID(weights())


def text(rows: int, chunks: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randn(rows, 77 * chunks, sum(TEXT_WIDTHS), generator=generator)


def predict(unet: UNet2DConditionModel, states: Tensor) -> Tensor:
    """Of the same latents in every row."""
    generator = torch.Generator().manual_seed(9)
    latents = torch.randn(1, 4, 16, 16, generator=generator).expand(len(states), -1, -1, -1)
    added = {
        "text_embeds": torch.ones(len(states), narrow_xl.POOLED),
        "time_ids": torch.ones(len(states), 6),
    }
    with torch.no_grad():
        return unet(latents, 500, encoder_hidden_states=states, added_cond_kwargs=added).sample


def made(
    unet: UNet2DConditionModel,
    plan: Plan | None,
    states: Tensor,
    roles: Sequence[Role] = GUIDED,
    progress: float = 0.5,
) -> Tensor:
    with injected(find_sites(unet), plan, Rows(roles, progress)) as calls:
        out = predict(unet, states)
    calls.require()
    return out


def test_off_is_bit_for_bit_what_it_was(unet: UNet2DConditionModel, sites: tuple[Site, ...], method: UniID):
    plain = predict(unet, text(2))
    assert not torch.allclose(made(unet, planned(method, sites), text(2)), plain, atol=1e-3)
    assert torch.equal(predict(unet, text(2)), plain)
    assert hook_count(unet) == 0


@pytest.mark.parametrize("branches", ["both", "text", "adapter"])
def test_split_calls_equal_one_call(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], method: UniID, branches: str
):
    plan, states = planned(method, sites, *BOTH if branches != "text" else (), branches=branches), text(2)
    split = [made(unet, plan, states[i : i + 1], GUIDED[i : i + 1]) for i in range(2)]
    assert_near(torch.cat(split), made(unet, plan, states), 1e-4)


def test_the_text_branch_alone_changes_cond_rows_alone(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], method: UniID
):
    plain, out = predict(unet, text(2)), made(unet, planned(method, sites, branches="text"), text(2))
    assert_near(out[0], plain[0])
    assert not torch.allclose(out[1], plain[1], atol=1e-3)


def test_without_guidance_there_are_cond_rows_alone(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], method: UniID
):
    plan = planned(method, sites)
    alone = made(unet, plan, text(2)[1:], (Role.COND,))
    assert_near(alone, made(unet, plan, text(2))[1:], 1e-4)


def test_every_prompt_of_an_and_and_the_first_chunk_of_a_break_get_the_tokens(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], method: UniID
):
    """Emphasis and schedules are in the states by then: each row is changed as it comes."""
    plan, states = planned(method, sites), text(3, chunks=2)
    roles = (Role.COND, Role.COND, Role.UNCOND)
    (change,) = plan.context
    rows = Rows(roles, 0.5)
    changed = change.prepare(change.state(0.5), states, rows)(states, rows)
    assert torch.equal(changed[:2, 4:77], states[:2, 1:74])
    assert torch.equal(changed[0, 1:4], changed[1, 1:4])
    assert torch.equal(changed[:, 77:], states[:, 77:])
    assert torch.equal(changed[2], states[2])
    plain_text = replace(plan, context=())
    assert_near(made(unet, plan, states, roles), made(unet, plain_text, changed, roles))


def test_the_strengths_change_at_the_merge(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], method: UniID
):
    plan, late = planned(method, sites), planned(method, sites, merge_start=0.0)
    assert_near(made(unet, plan, text(2)), made(unet, late, text(2)))
    early = made(unet, plan, text(2), progress=0.0)
    assert not torch.allclose(early, made(unet, late, text(2), progress=0.0), atol=1e-3)


def test_nothing_is_projected_while_sampling(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], method: UniID, monkeypatch: pytest.MonkeyPatch
):
    calls: list[object] = []
    linear = planning.linear
    monkeypatch.setattr(planning, "linear", lambda *given: calls.append(given) or linear(*given))
    plan = planned(method, sites, *BOTH)
    assert len(calls) == 4 * 70
    for progress in (0.0, 0.5):
        made(unet, plan, text(2), progress=progress)
    assert len(calls) == 4 * 70


def test_the_plan_holds_no_projection(sites: tuple[Site, ...], method: UniID):
    """A view of one would keep it in memory, and on the device."""
    plan = planned(method, sites, person())
    projections = {
        weight.untyped_storage().data_ptr()
        for one in method.projections.values()
        for weight in (one.to_k, one.to_v)
    }
    for (branch,) in plan.branches.values():
        assert isinstance(branch, IdentityBranch)
        for tensor in (branch.kv.key, branch.kv.value, *(branch.kv.null or ())):
            assert tensor.untyped_storage().data_ptr() not in projections


# --- the official sizes ---


def official_sites() -> list[Site]:
    """The cross-attention layers of SDXL, without memory."""
    whole = nn.Module()
    found: list[Site] = []
    with torch.device("meta"):
        for number, width in enumerate(SDXL.unet.widths):
            to_q, to_k = nn.Linear(width, width), nn.Linear(SDXL.unet.context, width)
            name = f"site {number}"
            found.append(
                Site(
                    index=2 * number + 1,
                    name=name,
                    heads=width // 64,
                    to_q=to_q,
                    to_k=to_k,
                    to_v=to_k,
                    to_out=to_q,
                    attention=None,
                    unet=whole,
                )
            )
    return found


def official_plan(people: int, *, masks: bool) -> Plan:
    with torch.device("meta"):
        tokens = torch.zeros(25, SDXL.unet.context)
        projections = {
            site.index: Projections(to_k=site.to_k.weight.detach(), to_v=site.to_k.weight.detach())
            for site in official_sites()
        }
    stripes = torch.eye(people).repeat_interleave(32, dim=0).T.reshape(people, 1, -1).expand(-1, 32, -1)
    crowd = [PlannedIdentity(tokens=tokens, mask=stripe if masks else None) for stripe in stripes]
    part = AdapterPart(people=crowd, null=tokens, projections=projections)
    plan = build(official_sites(), (), part, replace(planning.PlanSettings(), latent_size=(128, 128)))
    assert plan is not None
    return plan


def held(plan: Plan, pictures: int, *sides: int) -> int:
    """Bytes on the device after steps before and after the merge, at latents of these sizes."""
    rows, total = Rows([role for role in GUIDED for _ in range(pictures)]), 0
    for site, (branch,) in zip(official_sites(), plan.branches.values(), strict=True):
        assert isinstance(branch, IdentityBranch)
        for side in sides:
            places = (side // (2 if site.width == 640 else 4)) ** 2
            with torch.device("meta"):
                query = torch.zeros(len(rows.roles), places, site.width, dtype=torch.float16)
            for progress in (0.0, 0.5):
                branch.prepare(branch.state(progress), query, rows)
        total += branch.held
    return total


@pytest.mark.parametrize("pictures", [1, 4])
def test_one_person_takes_17_mb_on_the_device_in_any_batch_and_in_all_passes(pictures: int):
    """Of 2 rows keys and values: 25 tokens of 83,200 channels, 2 bytes."""
    assert held(official_plan(1, masks=False), pictures, 128, 256) == 2 * 2 * 25 * 83_200 * 2


def test_four_people_take_less_than_64_mb_on_the_device():
    total = held(official_plan(4, masks=True), 1, 128)
    assert total == 2 * (4 + 1) * 25 * 83_200 * 2
    assert total <= 64e6
