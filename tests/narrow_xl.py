"""A narrow SDXL with random weights: the layers of the official one, other widths."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from miniature import sgm
from miniature.ldm_layout import sdxl_state
from tests.narrow import VAE_CONFIG

WIDTH, LATENT_SIDE = 32, 16
TEXT_WIDTH, TEXT_WIDTH_2, POOLED, TIME_WIDTH = 32, 64, 48, 16
HEADS = 4

UNET_CONFIG: dict[str, Any] = {
    "sample_size": LATENT_SIDE,
    "block_out_channels": (WIDTH,) * 3,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": HEADS,
    "cross_attention_dim": TEXT_WIDTH + TEXT_WIDTH_2,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": TIME_WIDTH,
    "projection_class_embeddings_input_dim": POOLED + 6 * TIME_WIDTH,
}


def narrow_unet(**changes: Any) -> UNet2DConditionModel:
    torch.manual_seed(10)
    return UNet2DConditionModel(**UNET_CONFIG | changes).eval()


def narrow_vae() -> AutoencoderKL:
    torch.manual_seed(11)
    return AutoencoderKL(**VAE_CONFIG, scaling_factor=0.13025).eval()


def narrow_text_model() -> CLIPTextModel:
    torch.manual_seed(12)
    config = CLIPTextConfig(
        hidden_size=TEXT_WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    return CLIPTextModel(config).eval()


def narrow_text_model_2() -> CLIPTextModelWithProjection:
    torch.manual_seed(13)
    config = CLIPTextConfig(
        hidden_size=TEXT_WIDTH_2,
        intermediate_size=4 * TEXT_WIDTH_2,  # open_clip knows no other
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        projection_dim=POOLED,
        hidden_act="gelu",
    )
    model = CLIPTextModelWithProjection(config).eval()
    with torch.no_grad():  # transformers begins with zeros, which hide a mistake
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


def narrow_state() -> dict[str, Tensor]:
    """A whole checkpoint in the original layout."""
    return sdxl_state(narrow_unet(), narrow_vae(), narrow_text_model(), narrow_text_model_2())


SIZES = sgm.Sizes(
    unet=WIDTH,
    head=WIDTH // HEADS,
    time=TIME_WIDTH,
    pooled=POOLED,
    latent=LATENT_SIDE,
    texts=(
        sgm.TextSizes(width=TEXT_WIDTH, heads=2, layers=2, inner=64),
        sgm.TextSizes(width=TEXT_WIDTH_2, heads=HEADS, layers=3, inner=4 * TEXT_WIDTH_2),
    ),
    vae=VAE_CONFIG["block_out_channels"],
)


def write_checkpoint(folder: Path, name: str = "narrow-xl", working_folder: str = "") -> Path:
    """A single-file checkpoint with all that :func:`miniature.sgm.write_settings` writes."""
    path = folder / f"{name}.safetensors"
    save_file(narrow_state(), path)
    sgm.write_settings(folder, name, SIZES, working_folder)
    return path


def write_folder(folder: Path) -> Path:
    """The same in diffusers' layout, rounded to half precision as the file is."""
    parts = {"unet": narrow_unet(), "vae": narrow_vae(), "text_encoder": narrow_text_model()}
    for name, network in {**parts, "text_encoder_2": narrow_text_model_2()}.items():
        nn.Module.half(network)
        network.save_pretrained(folder / name)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    return folder
