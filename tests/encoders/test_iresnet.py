"""Tests of insightface's recogniser, and its parity with the official one."""

import pytest
import torch
from torch import Tensor

from lib_uniid.encoders.iresnet import IResNet
from lib_uniid.errors import CheckpointMismatchError
from tests import recorded_uniid as recorded

SHAPES: dict[str, list[int]] = recorded.written("keys_iresnet100")["keys"]


def narrow_state() -> dict[str, Tensor]:
    """A file of the same layout, narrower and shallower: 28 px, five blocks."""
    names: dict[int, int] = {64: 8, 128: 12, 256: 16, 512: 24, 25088: 24 * 4}
    kept = {
        name: shape
        for name, shape in SHAPES.items()
        if not name.startswith("layer") or int(name.split(".")[1]) < (2 if name.startswith("layer2") else 1)
    }
    shapes = {name: [names.get(side, side) for side in shape] for name, shape in kept.items()}
    for name in ("fc.weight", "fc.bias", *(one for one in shapes if one.startswith("features."))):
        shapes[name] = [10, *shapes[name][1:]] if shapes[name] else []
    return recorded.state(shapes, "narrow:")


@pytest.mark.golden
@torch.no_grad()
def test_embedding_and_taps_are_the_official_ones():
    model = IResNet.from_state_dict(recorded.state(SHAPES, "iresnet100:"))
    embedding, taps = model(torch.tanh(recorded.inputs("ir100.x", (1, 3, 112, 112))))
    expected = recorded.tensors("iresnet100")
    torch.testing.assert_close(embedding[0], expected["out"][0], rtol=1e-3, atol=1e-3)
    for number, tap in enumerate(taps):
        side = tap.shape[2]
        seen = tap[0, :8, :: side // 7, :: side // 7]
        torch.testing.assert_close(seen, expected[f"slice.h{number}"], rtol=1e-3, atol=1e-3)
        stats = recorded.notes("iresnet100")["hidden_state_stats"][number]
        assert list(tap.shape) == stats["shape"]
        assert float(torch.linalg.vector_norm(tap)) == pytest.approx(stats["fro"], rel=1e-3)


@torch.no_grad()
def test_a_narrower_file_has_its_own_sizes():
    model = IResNet.from_state_dict(narrow_state())
    assert model.sizes.depths == (1, 2, 1, 1)
    assert model.sizes.input_size == 28
    embedding, taps = model(torch.zeros(2, 3, 28, 28))
    assert embedding.shape == (2, 10)
    assert [tuple(tap.shape[1:]) for tap in taps] == [(8, 14, 14), (12, 7, 7), (16, 4, 4), (24, 2, 2)]


@torch.no_grad()
def test_counters_of_batches_may_be_missing():
    state = narrow_state()
    without = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(state)
    pixels = torch.ones(1, 3, 28, 28)
    first, second = (IResNet.from_state_dict(one)(pixels)[0] for one in (state, without))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["layer3.0.bn1.running_mean", "layer1.0.conv2.weight", "fc.weight"])
def test_a_missing_tensor_is_named(name: str):
    state = narrow_state()
    del state[name]
    with pytest.raises(CheckpointMismatchError, match=name):
        IResNet.from_state_dict(state)


@pytest.mark.parametrize("places", [5, 3 * 3])
def test_a_head_that_reads_no_grid_of_a_crop_is_refused(places: int):
    state = narrow_state()
    state["fc.weight"] = torch.zeros(10, 24 * places)
    with pytest.raises(CheckpointMismatchError, match="no grid of 24 channels with a side of 1, 2, 4, 7, 14"):
        IResNet.from_state_dict(state)
