"""An SDXL checkpoint in its original layout is what the original code's networks read."""

from typing import Any

import pytest
import torch
from torch import Tensor

from miniature.ldm_layout import sdxl_state
from tests import narrow_xl
from tests.ldm import ldm_module

TOKENS = torch.tensor([[49406, 320, 1125, 49407, *[0] * 73]])


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return narrow_xl.narrow_state()


def test_all_tensors_are_there_once_in_half_precision(state: dict[str, Tensor]):
    models = (narrow_xl.narrow_unet(), narrow_xl.narrow_vae(), narrow_xl.narrow_text_model())
    elements = sum(p.numel() for one in (*models, narrow_xl.narrow_text_model_2()) for p in one.parameters())
    assert sum(tensor.numel() for tensor in state.values()) == elements + 1  # and open_clip's logit scale
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert state["model.diffusion_model.input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight"].dim() == 2


def test_open_clip_reads_the_second_text_model_and_computes_the_same(state: dict[str, Tensor]):
    model = pytest.importorskip("open_clip.model")
    sizes = model.CLIPTextCfg(width=narrow_xl.TEXT_WIDTH_2, heads=narrow_xl.HEADS, layers=3)
    tower: Any = model._build_text_tower(narrow_xl.POOLED, sizes).eval()
    written = part(state, "conditioner.embedders.1.model.")
    assert written.pop("logit_scale").exp() == pytest.approx(1 / 0.07, rel=1e-3)
    tower.load_state_dict(written)
    with torch.no_grad():
        expected = narrow_xl.narrow_text_model_2()(TOKENS).text_embeds
        assert torch.allclose(tower(TOKENS), expected, atol=5e-3)  # the weights are rounded to half precision


def test_the_original_unet_reads_it_and_computes_the_same():
    """The package has one depth for all levels, and no conditions beside the text: here they are zero."""
    package = ldm_module("openaimodel")
    unet = narrow_xl.narrow_unet(transformer_layers_per_block=2)
    for kind in ("weight", "bias"):
        torch.nn.init.zeros_(unet.get_parameter(f"add_embedding.linear_2.{kind}"))
    texts = (narrow_xl.narrow_text_model(), narrow_xl.narrow_text_model_2())
    written = part(sdxl_state(unet, narrow_xl.narrow_vae(), *texts), "model.diffusion_model.")
    conditions = [
        written.pop(f"label_emb.0.{layer}.{kind}") for layer in (0, 2) for kind in ("weight", "bias")
    ]
    width = narrow_xl.TEXT_WIDTH + narrow_xl.TEXT_WIDTH_2
    original = package.UNetModel(
        image_size=narrow_xl.LATENT_SIDE,
        in_channels=4,
        out_channels=4,
        model_channels=narrow_xl.WIDTH,
        attention_resolutions=[4, 2],
        num_res_blocks=2,
        channel_mult=[1, 1, 1],
        num_heads=narrow_xl.HEADS,
        use_spatial_transformer=True,
        use_linear_in_transformer=True,
        transformer_depth=2,
        context_dim=[width] * 2,  # of each transformer block
        use_checkpoint=False,
        legacy=False,
    ).eval()
    original.load_state_dict(written)
    latents, text = torch.randn(2, 4, 16, 16), torch.randn(2, 77, width)
    added = {"text_embeds": torch.randn(2, narrow_xl.POOLED), "time_ids": torch.full((2, 6), 128.0)}
    with torch.no_grad():
        theirs = original(latents, timesteps=torch.tensor([500, 500]), context=[text] * 2)
        ours = unet(latents, 500, text, added_cond_kwargs=added).sample
    assert conditions[0].shape == (4 * narrow_xl.WIDTH, narrow_xl.POOLED + 6 * narrow_xl.TIME_WIDTH)
    assert torch.allclose(theirs, ours, atol=1e-2)  # the weights are rounded to half precision
