"""Tests of UniID's two branches, and their parity with the official ones."""

import pytest
import torch
from torch import Tensor

from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch, FaceResampler, on_one_grid
from lib_uniid.methods.uniid.text_branch import TextBranch, TextResampler
from lib_uniid.weights import load_exactly
from tests import recorded_uniid as recorded
from tests.near import assert_near

ADAPTER = recorded.tensors("adapter_branch_small")
TEXT = recorded.tensors("text_branch_small")


@pytest.fixture(scope="module")
def adapter() -> AdapterBranch:
    return AdapterBranch.from_state_dict(
        recorded.weights("adapter_branch_small", "adapter_branch:"), head_width=16
    )


def text_shapes() -> dict[str, list[int]]:
    """Shapes of the small text branch, from those of the published one."""
    small: dict[int, int] = {768: 32, 1280: 48, 2304: 96, 3840: 144, 3072: 128, 5120: 192, 1536: 64, 2560: 96}
    shapes: dict[str, list[int]] = {}
    published: dict[str, list[int]] = recorded.written("keys_text_branch")["keys"]
    for name, shape in published.items():
        name = name.removeprefix("text_branch.")
        if ".layers." not in name or int(name.split(".")[2]) < 2:
            shapes[name] = [small.get(side, side) for side in shape]
    return shapes


@pytest.fixture(scope="module")
def text() -> TextBranch:
    return TextBranch.from_state_dict(recorded.state(text_shapes(), "text_branch_small:"), head_width=16)


def sizes(name: str) -> dict[str, int]:
    """The sizes that both resamplers have, of a recorded one."""
    made = recorded.notes(name)["ctor"]
    return {
        "dim": made["dim"],
        "depth": made["depth"],
        "heads": made["heads"],
        "head_width": made["dim_head"],
        "mult": made["ff_mult"],
        "outputs": made["output_dim"],
    }


@pytest.mark.golden
@pytest.mark.parametrize("name", ["text_id_resampler", "text_id_resampler_outdim"])
@torch.no_grad()
def test_the_text_resampler_is_the_official_one(name: str):
    recording, notes = recorded.tensors(name), recorded.notes(name)
    resampler = TextResampler(tap=notes["ctor"]["face_recog_model_dim"], **sizes(name))
    load_exactly(resampler, recorded.weights(name), name)
    out = resampler(recording["in.id_embedding"], recording["in.face_embedding"])
    assert_near(out, recording["out"], notes["tol"])


@pytest.mark.golden
@torch.no_grad()
def test_the_face_resampler_is_the_official_one():
    name = "image_resampler"
    recording, (shallow, deep) = recorded.tensors(name), recorded.notes(name)["ctor"]["face_recog_model_dims"]
    resampler = FaceResampler(shallow=shallow, deep=deep, **sizes(name))
    load_exactly(resampler, recorded.weights(name), name)
    read = recording["in.latents"], recording["in.face_multi"], recording["in.face_last"]
    assert_near(resampler(*read), recording["out"])
    for parameter in resampler.proj_out.parameters():
        parameter.zero_()
    assert_near(resampler(*read), recording["out_zero_proj_out"])


@pytest.mark.golden
@torch.no_grad()
def test_adapter_tokens_are_the_official_ones(adapter: AdapterBranch):
    taps = [ADAPTER[f"in.h{number}"] for number in range(4)]
    assert_near(on_one_grid(taps[:3]), ADAPTER["mid.multi"])
    assert_near(adapter(taps), ADAPTER["out"])


@pytest.mark.golden
@torch.no_grad()
def test_uncond_adapter_tokens_are_those_of_taps_of_zeros(adapter: AdapterBranch):
    taps = [torch.zeros_like(ADAPTER[f"in.h{number}"]) for number in range(4)]
    assert_near(adapter(taps), ADAPTER["out_uncond_zero_hidden"])


@pytest.mark.golden
@torch.no_grad()
def test_text_tokens_are_the_official_ones(text: TextBranch):
    first, second = text(TEXT["in.x"], TEXT["in.h4"])
    assert_near(first, TEXT["out_1"], 2e-5)
    assert_near(second, TEXT["out_2"], 2e-5)
    zeros = text(torch.zeros_like(TEXT["in.x"]), torch.zeros_like(TEXT["in.h4"]))
    assert_near(zeros[0], TEXT["zero_out_1"], 2e-5)
    assert_near(zeros[1], TEXT["zero_out_2"], 2e-5)


def published(name: str) -> dict[str, Tensor]:
    """The published layout without values and without its prefix."""
    shapes = recorded.written(f"keys_{name}")["keys"]
    return {key.removeprefix(f"{name}."): torch.empty(shape, device="meta") for key, shape in shapes.items()}


def test_the_published_text_branch_fits_exactly():
    branch = TextBranch.from_state_dict(published("text_branch"))
    assert branch.tokens == 3
    assert len(branch.state_dict()) == 112
    assert sum(one.numel() for one in branch.parameters()) == 117_641_216


def test_the_published_resampler_of_the_adapter_branch_fits_exactly():
    state = published("adapter_branch")
    modules = {key for key in state if key.startswith("adapter_modules.")}
    branch = AdapterBranch.from_state_dict({key: state[key] for key in state.keys() - modules})
    assert branch.latents.shape == (1, 25, 768)
    assert len(branch.state_dict()) + len(modules) == 257


@pytest.mark.parametrize("name", ["latents", "adapter_resampler.layers.1.2.3.weight"])
def test_a_missing_tensor_of_the_adapter_branch_is_named(name: str):
    state = recorded.weights("adapter_branch_small", "adapter_branch:")
    del state[name]
    with pytest.raises(CheckpointMismatchError, match=name):
        AdapterBranch.from_state_dict(state, head_width=16)


@pytest.mark.parametrize("name", ["norm_2.weight", "text_resampler_2.layers.1.0.to_kv.weight"])
def test_a_missing_tensor_of_the_text_branch_is_named(name: str):
    state = recorded.state(text_shapes(), "text_branch_small:")
    del state[name]
    with pytest.raises(CheckpointMismatchError, match=name):
        TextBranch.from_state_dict(state, head_width=16)
