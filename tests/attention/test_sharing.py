"""Tests of sharing a picture's style in self-attention."""

import math

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from lib_uniid.attention.injection import injected
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sharing import Sharing, adain, shared
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.errors import ConfigError
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from tests.attention.builders import (
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

STYLE, UNCOND, COND, UNTOUCHED = Role.STYLE, Role.UNCOND, Role.COND, Role.UNTOUCHED
BOTH_HALVES = (STYLE, UNCOND, STYLE, COND)
ADAIN = Sharing(adain=True, score_scale=1.1)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return narrow_unet()


@pytest.fixture(scope="module")
def sites(unet: UNet2DConditionModel) -> tuple[Site, ...]:
    return find_sites(unet)


def hidden(rows: int) -> Tensor:
    return torch.randn(rows, 16, 8, generator=torch.Generator().manual_seed(6))


def attend(x: Tensor, roles: tuple[Role, ...], sharing: Sharing | None = None) -> Tensor:
    """One self-attention of width 8."""
    pair = small_pair()
    with torch.no_grad(), shared(pair.sites, sharing, Rows(roles)):
        return pair.self_attention(x)


# --- what is shared with whom ---


@pytest.mark.parametrize("sharing", [Sharing(), ADAIN])
def test_style_rows_and_rows_without_identities_are_unchanged(sharing: Sharing):
    x, roles = hidden(5), (COND, STYLE, COND, UNTOUCHED, COND)
    plain, out = attend(x, roles), attend(x, roles, sharing)
    for row in (0, 1, 3):  # the first row has no style row before it
        assert torch.equal(out[row], plain[row])
    for row in (2, 4):
        assert not torch.allclose(out[row], plain[row], atol=1e-3)


def test_each_half_has_the_style_of_its_own_first_row():
    x, roles = hidden(6), (STYLE, UNCOND, UNCOND, STYLE, COND, COND)
    out = attend(x, roles, Sharing())
    for style, row in ((0, 1), (0, 2), (3, 4), (3, 5)):
        assert_near(out[row], attend(x[[style, row]], (STYLE, COND), Sharing())[1])


@pytest.mark.parametrize("sharing", [Sharing(), Sharing(score_shift=2.0), Sharing(adain=True)])
def test_a_row_that_shares_with_its_equal_stays_as_it_is(sharing: Sharing):
    x = hidden(1).expand(4, -1, -1)
    assert_near(attend(x, BOTH_HALVES, sharing), attend(x, BOTH_HALVES))


def test_a_shift_of_log_2_counts_every_style_token_twice():
    x, pair = hidden(2), small_pair()
    with torch.no_grad():
        twice = torch.cat([x[1:], x[:1], x[:1]], dim=1)
        expected = pair.self_attention(x[1:], encoder_hidden_states=twice)
    assert_near(attend(x, (STYLE, COND), Sharing(score_shift=math.log(2)))[1:], expected)


def test_a_very_low_shift_shares_nothing():
    x = hidden(4)
    assert_near(attend(x, BOTH_HALVES, Sharing(score_shift=-100.0)), attend(x, BOTH_HALVES))


def test_adain_gives_every_channel_the_moments_of_the_style():
    x, style = hidden(3), 2.0 + 3.0 * hidden(1)
    out = adain(x, style)
    assert_near(out.mean(dim=1), style.mean(dim=1).expand(3, -1), within=1e-4)
    assert_near(out.std(dim=1), style.std(dim=1).expand(3, -1), within=1e-4)
    assert_near(adain(style, style), style)


def test_adain_of_a_single_token_is_that_of_the_style():
    style = hidden(1)[:, :1]
    assert_near(adain(hidden(3)[:, 1:2], style), style.expand(3, -1, -1))


def test_a_call_with_other_rows_than_the_host_named_is_refused():
    with pytest.raises(ConfigError, match="called with 3 rows and the host named 2"):
        attend(hidden(3), (STYLE, COND), Sharing())


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("score_shift", math.nan, "score shift must be a finite number, got nan"),
        ("score_shift", -math.inf, "score shift must be a finite number, got -inf"),
        ("score_scale", 2.5, r"score scale must lie in \[0, 2\], got 2.5"),
        ("score_scale", math.nan, "score scale"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(field: str, value: float, named: str):
    with pytest.raises(ConfigError, match=named):
        Sharing(**{field: value})  # pyright: ignore[reportArgumentType]


# --- a style row in a call of its own ---


def test_a_style_row_of_an_earlier_call_has_the_effect_of_one_in_the_same_call(
    unet: UNet2DConditionModel, sites: tuple[Site, ...]
):
    rows, together = Rows(()), Rows((UNTOUCHED, STYLE, UNCOND, COND))
    with shared(sites, Sharing(), together):
        expected = predict(unet, 4)
    first, then = slice(0, 2), slice(2, 4)
    with leaves_no_trace(unet), shared(sites, Sharing(), rows, keep=True):
        for only, roles in ((first, [UNTOUCHED, STYLE]), (then, [UNCOND, COND]), (then, [COND, COND])):
            rows.roles = roles
            assert_near(predict(unet, 4, only), expected[only])


# --- in a whole UNet ---


def test_identities_are_not_injected_into_the_style_rows(unet: UNet2DConditionModel, sites: tuple[Site, ...]):
    plain, rows = predict(unet, 4), Rows(BOTH_HALVES)
    plan = build(
        random_adapter(sites), sites, people(2, 32), null_tokens(32), PlanSettings(lora_scale=0.0)
    )  # LoRA is for all rows alike
    with injected(sites, plan, rows), shared(sites, Sharing(), rows):
        out = predict(unet, 4)
    for row, role in enumerate(BOTH_HALVES):
        assert torch.allclose(out[row], plain[row], atol=1e-5) == (role is STYLE)


def test_a_style_changes_only_the_other_rows(unet: UNet2DConditionModel, sites: tuple[Site, ...]):
    plain, rows = predict(unet, 4), Rows(BOTH_HALVES)
    with leaves_no_trace(unet), shared(sites, Sharing(), rows):
        out = predict(unet, 4)
        assert_near(out[[0, 2]], plain[[0, 2]])
        assert not torch.allclose(out[[1, 3]], plain[[1, 3]], atol=1e-3)


def test_an_exception_in_the_middle_of_sampling_leaves_no_trace(
    unet: UNet2DConditionModel, sites: tuple[Site, ...]
):
    def sample() -> None:
        with shared(sites, Sharing(), Rows((STYLE, COND))):
            predict(unet)
            predict(unet, 3)

    with leaves_no_trace(unet), pytest.raises(ConfigError):
        sample()


def test_an_exception_while_registering_leaves_no_trace(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    last = [site for site in sites if not site.cross][-1]
    monkeypatch.setattr(last.to_out, "register_forward_pre_hook", fail)
    with leaves_no_trace(unet), pytest.raises(RuntimeError), shared(sites, Sharing(), Rows(())):
        pytest.fail("registered on a broken layer")


def test_without_sharing_nothing_is_injected(unet: UNet2DConditionModel, sites: tuple[Site, ...]):
    with shared(sites, None, Rows(BOTH_HALVES)):
        assert hook_count(unet) == 0


def test_cross_attention_is_not_touched(unet: UNet2DConditionModel, sites: tuple[Site, ...]):
    with shared(sites, Sharing(), Rows(BOTH_HALVES)):
        assert hook_count(unet) == 4 * len(sites) // 2
        assert not any(hook_count(x) for site in sites if site.cross for x in site.projections.values())


@pytest.mark.parametrize("sharing", [Sharing(), ADAIN])
def test_it_follows_the_precision_of_the_unet(sharing: Sharing):
    unet = narrow_unet().bfloat16()
    with shared(find_sites(unet), sharing, Rows(BOTH_HALVES)):
        out = predict(unet, 4)
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()
