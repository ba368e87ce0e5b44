"""Tests of injecting people into a UNet and ejecting them."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from lib_uniid.attention.injection import injected
from lib_uniid.attention.lora import Deltas, LoRA
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.errors import ConfigError
from lib_uniid.methods.uniportrait.plan import build
from tests.attention.builders import (
    GUIDED,
    hook_count,
    leaves_no_trace,
    narrow_unet,
    null_tokens,
    people,
    predict,
    random_adapter,
    small_pair,
)
from tests.attention.pairs import pair_plan


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return narrow_unet()


@pytest.fixture(scope="module")
def sites(unet: UNet2DConditionModel) -> tuple[Site, ...]:
    return find_sites(unet)


def unet_plan(sites: tuple[Site, ...], count: int) -> Plan | None:
    return build(random_adapter(sites), sites, people(count, 32), null_tokens(32))


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


def test_calls_with_and_without_inference_mode_may_take_turns():
    pair = small_pair()
    with torch.no_grad(), injected(pair.sites, pair_plan(people(2, 6)), Rows(GUIDED)):
        hidden, text = torch.randn(2, 64, 8), torch.randn(2, 5, 6)
        with torch.inference_mode():
            first = pair.cross_attention(hidden, text)
        assert torch.equal(pair.cross_attention(hidden, text), first)
