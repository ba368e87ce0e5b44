"""Tests of the CLIP image tower; compared with transformers and open_clip."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_uniid.encoders.clip_vision import ClipVision
from lib_uniid.errors import CheckpointMismatchError
from tests.encoders.builders import CLIP_CONFIG, narrow_clip, of_open_clip, transformers_clip

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return transformers_clip().state_dict()


@torch.no_grad()
def test_the_penultimate_states_are_those_of_transformers(pixels: Tensor):
    expected = transformers_clip()(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    torch.testing.assert_close(narrow_clip().penultimate(pixels), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_embedding_is_that_of_transformers(pixels: Tensor):
    expected = transformers_clip()(pixels).image_embeds
    torch.testing.assert_close(narrow_clip().embed(pixels), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_embedding_is_that_of_open_clip(pixels: Tensor):
    transformer = pytest.importorskip("open_clip.transformer")
    torch.manual_seed(2)
    tower = transformer.VisionTransformer(
        image_size=56, patch_size=14, width=32, layers=3, heads=4, mlp_ratio=1.25, output_dim=12
    ).eval()
    ours = ClipVision.from_state_dict(of_open_clip(tower), CLIP_CONFIG)
    torch.testing.assert_close(ours.embed(pixels), tower(pixels), rtol=0, atol=1e-5)


WITHOUT = """
import sys
for name in ("open_clip", "timm", "torchvision"):
    sys.modules[name] = None  # importing it raises
import torch
from lib_uniid.encoders.clip_vision import ClipVision
state = torch.load(sys.argv[1])
print(ClipVision.from_state_dict(state, {"num_attention_heads": 4}).embed(torch.zeros(1, 3, 56, 56)).shape)
"""


def test_neither_open_clip_nor_torchvision_is_needed(state: dict[str, Tensor], tmp_path: Path):
    torch.save(state, tmp_path / "clip.pt")
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "clip.pt")]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed == "torch.Size([1, 12])\n"


@torch.no_grad()
def test_the_last_layer_is_not_run_for_the_penultimate_states(pixels: Tensor):
    clip = narrow_clip()
    expected = clip.penultimate(pixels)
    clip.tower.vision_model["encoder"]["layers"][-1].forward = None  # pyright: ignore
    assert torch.equal(clip.penultimate(pixels), expected)


def test_sizes_are_read_off_the_tensors():
    clip = narrow_clip()
    assert (clip.size, clip.width, clip.tokens, clip.projection) == (56, 32, 16, 12)


def test_heads_come_from_the_configuration(state: dict[str, Tensor]):
    clip = ClipVision.from_state_dict(state, {**CLIP_CONFIG, "num_attention_heads": 8})
    assert clip.tower.vision_model["encoder"]["layers"][0].self_attn.heads == 8  # pyright: ignore


def test_without_configuration_a_width_that_is_not_vit_h_s_is_refused(state: dict[str, Tensor]):
    with pytest.raises(CheckpointMismatchError, match=r"0\.4 heads; put this model's config\.json"):
        ClipVision.from_state_dict(state)


@pytest.mark.parametrize("setting", [{"hidden_act": "quick_gelu"}, {"layer_norm_eps": 1e-6}])
def test_another_activation_or_eps_is_refused(state: dict[str, Tensor], setting: dict[str, object]):
    with pytest.raises(CheckpointMismatchError, match="'gelu' and 1e-05 are needed"):
        ClipVision.from_state_dict(state, {**CLIP_CONFIG, **setting})


def test_position_ids_of_older_releases_are_let_pass(state: dict[str, Tensor]):
    ids = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    tower = ClipVision.from_state_dict({**state, **ids}, CLIP_CONFIG)
    without = ClipVision.from_state_dict(state, CLIP_CONFIG)
    assert tower.state_dict().keys() == without.state_dict().keys()


@pytest.mark.parametrize(
    "name", ["vision_model.encoder.layers.1.self_attn.k_proj.bias", "visual_projection.weight"]
)
def test_a_missing_tensor_is_refused(state: dict[str, Tensor], name: str):
    with pytest.raises(CheckpointMismatchError):
        ClipVision.from_state_dict({key: tensor for key, tensor in state.items() if key != name}, CLIP_CONFIG)


def test_a_superfluous_tensor_is_named(state: dict[str, Tensor]):
    with pytest.raises(CheckpointMismatchError) as raised:
        ClipVision.from_state_dict({**state, "text_model.weight": torch.zeros(1)}, CLIP_CONFIG)
    assert raised.value.unexpected == {"text_model.weight"}
