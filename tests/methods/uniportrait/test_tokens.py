"""Tests of the resampler, and its parity with the official one."""

import math

import pytest
import torch
from torch import Tensor

from lib_uniid.errors import CheckpointMismatchError, ConfigError, EncoderMismatchError
from lib_uniid.methods.mixing import mix
from lib_uniid.methods.uniportrait.tokens import Resampler, identity_tokens, uncond_tokens
from tests import recorded
from tests.near import assert_near

SMALL = recorded.tensors("resampler_small")
INTRINSIC, STRUCTURE = SMALL["in.intrinsic"], SMALL["in.structure"]


@pytest.fixture(scope="module")
def resampler() -> Resampler:
    return Resampler.from_state_dict(recorded.under("w.", SMALL), dim_head=16)


@pytest.fixture(scope="module")
def full() -> Resampler:
    shapes = recorded.notes("state_dict_layout_full")["groups"]["faceid_file.faceid_proj"]
    return Resampler.from_state_dict(recorded.filled_state(shapes, seed=41))


def one_person(features: Tensor, references: int) -> Tensor:
    """Several references of one person: their tokens one after the other."""
    return features[:references].flatten(0, 1)[None]


# --- parity ---


@pytest.mark.golden
@pytest.mark.parametrize("scale", [0.0, 0.1, 0.3, 1.0])
def test_tokens_of_a_batch_are_the_official_ones(resampler: Resampler, scale: float):
    assert_near(resampler(INTRINSIC, STRUCTURE, scale), SMALL[f"out.batch3_scale{scale}"])


@pytest.mark.golden
@pytest.mark.parametrize(("references", "scale"), [(3, 0.3), (2, 1.0)])
def test_several_references_of_one_person_are_read_as_one_sequence(
    resampler: Resampler, references: int, scale: float
):
    tokens = resampler(one_person(INTRINSIC, references), one_person(STRUCTURE, references), scale)
    assert_near(tokens, SMALL[f"out.multiref{references}_scale{scale}"])


@pytest.mark.golden
def test_dropped_tokens_are_dropped_as_in_the_official_code(resampler: Resampler):
    keep = {"intrinsic_keep": SMALL["in.mask_i"], "structure_keep": SMALL["in.mask_s"]}
    assert_near(resampler(INTRINSIC, STRUCTURE, 1.0, **keep), SMALL["out.masked_scale1.0"])


@pytest.mark.golden
def test_a_structure_scale_per_row_is_the_official_droppath(resampler: Resampler):
    tokens = resampler(INTRINSIC, STRUCTURE, SMALL["in.scale_vec"])
    assert_near(tokens, SMALL["out.droppath_vec"])


@pytest.mark.golden
def test_uncond_tokens_come_from_zero_intrinsic_features(resampler: Resampler):
    tokens = uncond_tokens(resampler, INTRINSIC.shape[1], STRUCTURE[0], 0.3)
    assert_near(tokens[None], SMALL["out.uncond_like"])


@pytest.mark.golden
def test_the_full_size_layout_is_the_published_one():
    layout = recorded.notes("state_dict_layout_full")["groups"]["faceid_file.faceid_proj"]
    with torch.device("meta"):
        ours = Resampler().state_dict()
    assert {name: list(tensor.shape) for name, tensor in ours.items()} == layout


@pytest.mark.golden
def test_full_size_tokens_without_structure_are_the_official_ones(full: Resampler):
    out = recorded.tensors("id_embedding_full")
    with torch.no_grad():
        cond = identity_tokens(full, out["mid.intrinsic_1x49x512"], None, 0.0)
        uncond = uncond_tokens(full, 49, None, 0.0)
    torch.testing.assert_close(cond, out["out.one_ref_b0.0.cond"], rtol=0.0, atol=1e-4)
    torch.testing.assert_close(uncond[None], out["out.one_ref_b0.0.uncond"], rtol=0.0, atol=1e-4)


# --- laws ---


def test_structure_scale_0_is_independent_of_structure(resampler: Resampler):
    tokens = identity_tokens(resampler, INTRINSIC, STRUCTURE, 0.0)
    assert torch.equal(tokens, identity_tokens(resampler, INTRINSIC, STRUCTURE.flip(0), 0.0))
    assert torch.equal(tokens, identity_tokens(resampler, INTRINSIC, None, 0.0))


def test_structure_scale_0_skips_the_structure_layers(resampler: Resampler):
    calls: list[float] = []
    with_scale = 0.0

    def count(*_: object) -> None:
        calls.append(with_scale)

    handle = resampler.proj_clip.register_forward_hook(count)
    for with_scale in (0.0, 0.3):
        resampler(INTRINSIC, STRUCTURE, with_scale)
    handle.remove()
    assert calls == [0.3]


def test_the_order_of_references_does_not_matter(resampler: Resampler):
    tokens = [
        resampler(one_person(intrinsic, 3), one_person(structure, 3), 0.3)
        for intrinsic, structure in ((INTRINSIC, STRUCTURE), (INTRINSIC.flip(0), STRUCTURE.flip(0)))
    ]
    assert_near(*tokens)


def test_a_dropped_token_has_no_influence(resampler: Resampler):
    keep = torch.ones(3, INTRINSIC.shape[1], 1)
    keep[:, 0] = 0.0
    changed = INTRINSIC.clone()
    changed[:, 0] += 5.0
    tokens = [resampler(x, None, 0.0, intrinsic_keep=keep) for x in (INTRINSIC, changed)]
    assert_near(*tokens)


def test_one_person_gets_the_tokens_that_a_batch_of_one_gets(resampler: Resampler):
    alone = identity_tokens(resampler, INTRINSIC[0], STRUCTURE[0], 0.3)
    assert torch.equal(alone, identity_tokens(resampler, INTRINSIC[:1], STRUCTURE[:1], 0.3)[0])


def test_every_parameter_learns(resampler: Resampler):
    fresh = Resampler.from_state_dict(
        {name: x.clone() for name, x in resampler.state_dict().items()}, dim_head=16
    )
    fresh(INTRINSIC, STRUCTURE, torch.full((3, 1, 1), 0.5)).square().sum().backward()
    assert [name for name, x in fresh.named_parameters() if x.grad is None or not x.grad.any()] == []


def test_mixing_moves_along_the_line_between_people():
    master, other = torch.randn(2, 16, 8).unbind()
    torch.testing.assert_close(mix(master, [other], [0.25]), 0.75 * master + 0.25 * other)
    torch.testing.assert_close(mix(master, [other], [1.5]), 1.5 * other - 0.5 * master)
    assert torch.equal(mix(master, [], []), master)


# --- refusals ---


def test_structure_that_is_called_for_and_missing_is_an_error(resampler: Resampler):
    with pytest.raises(ConfigError, match=r"structure scale 0\.3 needs structure features"):
        resampler(INTRINSIC, None, 0.3)


@pytest.mark.parametrize(
    ("kind", "features"),
    [("intrinsic", (INTRINSIC[..., :5], STRUCTURE)), ("structure", (INTRINSIC, STRUCTURE[..., :5]))],
)
def test_features_of_another_encoder_are_refused(
    resampler: Resampler, kind: str, features: tuple[Tensor, Tensor]
):
    with pytest.raises(EncoderMismatchError, match=f"{kind} features are 5 wide"):
        identity_tokens(resampler, *features, 0.3)


@pytest.mark.parametrize("weights", [[], [0.1, 0.2], [math.nan]])
def test_mixing_weights_must_be_one_finite_number_each(weights: list[float]):
    with pytest.raises(ConfigError):
        mix(torch.zeros(16, 8), [torch.zeros(16, 8)], weights)


@pytest.mark.parametrize(
    "name", ["latents", "layers.0.0.to_q.weight", "layers.2.1.norm1.bias", "norm_out.bias"]
)
def test_a_missing_tensor_is_named(name: str):
    state = recorded.under("w.", SMALL)
    del state[name]
    with pytest.raises(CheckpointMismatchError, match=f"missing {name}") as caught:
        Resampler.from_state_dict(state, dim_head=16)
    assert caught.value.missing == {name}


@pytest.mark.parametrize("name", ["latents", "layers.0.0.to_q.weight", "layers.1.0.to_kv.weight"])
@pytest.mark.parametrize("shape", [(), (7,), (0, 3), (5, 7)])
def test_a_misshapen_tensor_is_named(name: str, shape: tuple[int, ...]):
    state = recorded.under("w.", SMALL) | {name: torch.zeros(shape)}
    with pytest.raises(CheckpointMismatchError) as caught:
        Resampler.from_state_dict(state, dim_head=16)
    assert name in caught.value.misshapen


def test_an_extra_tensor_is_named():
    state = recorded.under("w.", SMALL) | {"time_embed.weight": torch.zeros(2)}
    with pytest.raises(CheckpointMismatchError, match=r"unexpected time_embed\.weight"):
        Resampler.from_state_dict(state, dim_head=16)
