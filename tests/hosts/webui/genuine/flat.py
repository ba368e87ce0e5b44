"""A models folder for a host that recognises a checkpoint by its shapes and makes no narrower one.

Forge makes Stable Diffusion 1.5's VAE and text model in their full size whatever the file has; the levels of
the UNet may be alike. Weights are random, those of the method too, so the pictures show nothing; the networks
that look at faces are the miniature's.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from lib_uniid.attention.sites import find_sites
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter
from lib_uniid.methods.uniportrait.tokens import Resampler
from miniature.ldm_layout import ldm_state
from miniature.recipes.base import TOKENS
from miniature.recipes.identity import new_resampler

UNET: dict[str, Any] = {
    "sample_size": 16,
    "block_out_channels": (320,) * 4,
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}
TEXT: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}


def write_flat_models(miniature: Path, root: Path) -> Path:
    """Write everything; about 700 MB."""
    unwanted = ("Stable-diffusion", "library", "cache", "uniportrait-*")
    shutil.copytree(miniature, root, ignore=shutil.ignore_patterns(*unwanted))
    torch.manual_seed(0)
    unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    text = CLIPTextModel(CLIPTextConfig(**TEXT))
    folder = root / "Stable-diffusion"
    folder.mkdir()
    save_file(_told_apart(ldm_state(unet, vae, text)), folder / "flat.safetensors")
    _write_method(root / "uniid", unet)
    return root


def _write_method(folder: Path, unet: UNet2DConditionModel) -> None:
    adapter = UniPortraitAdapter.for_sites(find_sites(unet), rank=2)
    router = adapter.add_router(TOKENS)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(0.05 * torch.randn_like(parameter))
    resampler = _widened(new_resampler(), UNET["cross_attention_dim"])
    faceid = {"faceid_proj": resampler.state_dict(), "faceid_adapter": adapter.faceid.state_dict()}
    torch.save(faceid, folder / "uniportrait-faceid_sd15.bin")
    torch.save({"faceid_adapter": router.state_dict()}, folder / "uniportrait-router_sd15.bin")


def _widened(resampler: Resampler, width: int) -> Resampler:
    """The miniature's, with tokens of another width."""
    for name, layer in resampler.named_modules():
        if name == "proj_out":
            assert isinstance(layer, nn.Linear)
            setattr(resampler, name, nn.Linear(layer.in_features, width))
        if name == "norm_out":
            setattr(resampler, name, nn.LayerNorm(width))
    return resampler


def _told_apart(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hosts divide by the mean of the text's vectors when words are emphasised: it must not be zero."""
    bias = next(name for name in state if name.endswith("final_layer_norm.bias"))
    return {**state, bias: nn.init.normal_(state[bias].clone())}
