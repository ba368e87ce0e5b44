"""Tests of the face recogniser, and its parity with the official one."""

import pytest
import torch
from torch import Tensor

from lib_uniid.encoders.curricularface import BackboneSizes, CurricularFace
from lib_uniid.errors import CheckpointMismatchError
from tests import recorded
from tests.encoders.builders import NARROW, backbone_state, narrow_backbone


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Convolution kernels differ from machine to machine; so says the note beside the recording."""
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def official() -> CurricularFace:
    shapes = {name: shape for name, (shape, _) in recorded.notes("curricularface_ir101_keys")["keys"].items()}
    return CurricularFace.from_state_dict(recorded.filled_state(shapes, seed=31, gain=0.6), head=True)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return (0.5 * recorded.named_normal("input:face112", (2, 3, 112, 112), 31)).clamp(-1, 1)


@pytest.mark.golden
@torch.no_grad()
def test_the_taps_are_the_official_ones(official: CurricularFace, pixels: Tensor):
    recording = recorded.tensors("curricularface_ir101_full")
    fine, middle, coarse, last = official(pixels)
    torch.testing.assert_close(fine[:1, :4], recording["out.tap0_64x56x56_ch0_4"])
    assert_close(middle[:1, :16], recording["out.tap1_128x28x28_ch0_16"])
    assert_close(coarse[:, :64], recording["out.tap2_256x14x14_ch0_64"])
    assert_close(last, recording["out.tap3_512x7x7"])


@pytest.mark.golden
@torch.no_grad()
def test_the_id_embedding_is_the_official_one(official: CurricularFace, pixels: Tensor):
    expected = recorded.tensors("curricularface_ir101_full")["out.embedding"]
    assert_close(official.embed(pixels), expected)


@pytest.mark.golden
def test_the_sizes_of_the_official_file_are_read_off_it(official: CurricularFace):
    assert official.sizes.input_size == 112
    assert official.sizes.taps == (2, 15, 45, 48)
    assert official.sizes.final_size == 7


def test_a_narrower_file_is_read_by_the_same_code():
    backbone = narrow_backbone()
    assert backbone.sizes == NARROW
    taps = backbone(torch.zeros(2, 3, 56, 56))
    assert [tuple(tap.shape) for tap in taps] == [
        (2, 4, 28, 28),
        (2, 6, 14, 14),
        (2, 8, 7, 7),
        (2, 10, 4, 4),
    ]


def test_the_head_is_loaded_on_demand_only():
    assert not any(name.startswith("output_layer") for name in narrow_backbone().state_dict())
    assert narrow_backbone(head=True).embed(torch.zeros(1, 3, 56, 56)).shape == (1, 12)


def test_a_loaded_recogniser_is_frozen_and_in_float32():
    half = {name: tensor.half() for name, tensor in backbone_state().items()}
    backbone = CurricularFace.from_state_dict(half)
    assert not backbone.training
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_what_is_saved_loads_again():
    state = narrow_backbone(head=True).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == {
        name: tuple(t.shape) for name, t in backbone_state().items()
    }


@pytest.mark.parametrize(
    "name", ["body.3.res_layer.4.weight", "output_layer.3.weight", "output_layer.4.running_mean"]
)
def test_a_missing_tensor_is_named(name: str):
    state = backbone_state()
    del state[name]
    with pytest.raises(CheckpointMismatchError) as raised:
        CurricularFace.from_state_dict(state)
    assert raised.value.missing == {name}


def test_a_superfluous_tensor_is_named():
    with pytest.raises(CheckpointMismatchError) as raised:
        CurricularFace.from_state_dict({**backbone_state(), "extra": torch.zeros(1)})
    assert raised.value.unexpected == {"extra"}


def test_a_misshapen_tensor_is_named_even_in_the_head():
    state = backbone_state()
    state["output_layer.0.weight"] = torch.zeros(11)
    with pytest.raises(CheckpointMismatchError) as raised:
        CurricularFace.from_state_dict(state)
    assert raised.value.misshapen == {"output_layer.0.weight"}


def test_a_head_that_fits_no_input_size_is_refused():
    state = backbone_state()
    state["output_layer.3.weight"] = torch.zeros(12, 10 * 25)
    with pytest.raises(CheckpointMismatchError, match="match no input size"):
        CurricularFace.from_state_dict(state)


def test_there_must_be_four_stages():
    with pytest.raises(CheckpointMismatchError, match="3 stages"):
        BackboneSizes(stem=4, widths=(4, 8, 16), input_size=112, embedding=8)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_the_factor_that_a_crop_is_averaged_by_is_found(factor: int):
    sizes = BackboneSizes(stem=4, widths=(4, 6, 8, 10), input_size=224 // factor, embedding=5)
    assert BackboneSizes.of(backbone_state(sizes=sizes)) == sizes
