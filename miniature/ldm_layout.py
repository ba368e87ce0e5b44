"""Networks of diffusers and transformers written in Stable Diffusion 1.5's original (ldm) layout.

The ldm names are listed here; diffusers' own converter, run on names instead of tensors, then tells which
tensor of a network each of them holds. Levels and layers are Stable Diffusion 1.5's, the VAE has one residual
block less per level; widths are free.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from einops import rearrange
from torch import Tensor, nn


def ldm_state(unet: nn.Module, vae: nn.Module, text_model: nn.Module) -> dict[str, Tensor]:
    """A whole checkpoint in the ldm layout, in half precision."""
    text = {key.removeprefix("text_model."): tensor for key, tensor in text_model.state_dict().items()}
    state = _renamed(unet, "model.diffusion_model.", _unet_names(), convert_ldm_unet_checkpoint)
    state |= _renamed(vae, "first_stage_model.", _vae_names(vae), convert_ldm_vae_checkpoint)
    state |= {"cond_stage_model.transformer.text_model." + key: tensor for key, tensor in text.items()}
    for key in [key for key in state if re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight", key)]:
        state[key] = rearrange(state[key], "o i -> o i 1 1")  # ldm's VAE attends through 1 x 1 convolutions
    return {key: tensor.half().contiguous() for key, tensor in state.items()}


def names_of_unet(unet: nn.Module) -> dict[str, str]:
    """The names of a UNet's tensors in a checkpoint, by those that they have in diffusers."""
    return _names(unet, "model.diffusion_model.", _unet_names(), convert_ldm_unet_checkpoint)


def names_of_vae(vae: Any) -> dict[str, str]:
    """The same of an autoencoder's."""
    return _names(vae, "first_stage_model.", _vae_names(vae), convert_ldm_vae_checkpoint)


def _renamed(
    module: Any, prefix: str, names: list[str], convert: Callable[..., dict[str, Tensor]]
) -> dict[str, Tensor]:
    theirs = _names(module, prefix, names, convert)
    return {theirs[key]: tensor for key, tensor in module.state_dict().items()}


def _names(
    module: Any, prefix: str, names: list[str], convert: Callable[..., dict[str, Tensor]]
) -> dict[str, str]:
    ours = module.state_dict()
    numbered = {prefix + name: torch.tensor(number) for number, name in enumerate(names)}
    theirs = convert(numbered, dict(module.config))
    lost = ours.keys() - theirs.keys()
    if lost:
        raise KeyError(f"no ldm name for {sorted(lost)[:5]}")
    return {key: prefix + names[int(theirs[key])] for key in ours}


def _both(*stems: str) -> list[str]:
    return [f"{stem}.{kind}" for stem in stems for kind in ("weight", "bias")]


def _unet_names() -> list[str]:
    names = _both("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    for number in range(1, 12):
        block = f"input_blocks.{number}"
        names += _both(f"{block}.0.op") if number % 3 == 0 else _residual(f"{block}.0")
        names += _transformer(f"{block}.1") if number % 3 and number < 9 else []
    names += _residual("middle_block.0") + _transformer("middle_block.1") + _residual("middle_block.2")
    for number in range(12):
        block = f"output_blocks.{number}"
        names += _residual(f"{block}.0")
        names += _transformer(f"{block}.1") if number > 2 else []
        names += _both(f"{block}.{1 if number == 2 else 2}.conv") if number in {2, 5, 8} else []
    return names


def _residual(block: str) -> list[str]:
    stems = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")
    return _both(*(f"{block}.{stem}" for stem in stems))


def _transformer(block: str) -> list[str]:
    inner = f"{block}.transformer_blocks.0"
    names = _both(f"{block}.norm", f"{block}.proj_in", f"{block}.proj_out")
    names += _both(*(f"{inner}.{stem}" for stem in ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2")))
    for attention in (f"{inner}.attn1", f"{inner}.attn2"):
        names += [f"{attention}.to_{letter}.weight" for letter in "qkv"] + _both(f"{attention}.to_out.0")
    return names


def _vae_names(vae: Any) -> list[str]:
    names, most = _both("quant_conv", "post_quant_conv"), vae.config["layers_per_block"]
    for half, direction, layers in (("encoder", "down", most), ("decoder", "up", most + 1)):
        names += _both(f"{half}.conv_in", f"{half}.conv_out", f"{half}.norm_out")
        for level in range(4):
            blocks = [f"{half}.{direction}.{level}.block.{layer}" for layer in range(layers)]
            names += [name for block in blocks for name in _vae_residual(block)]
            names += _both(f"{half}.{direction}.{level}.{direction}sample.conv")
        names += _vae_residual(f"{half}.mid.block_1") + _vae_residual(f"{half}.mid.block_2")
        names += _both(*(f"{half}.mid.attn_1.{stem}" for stem in ("norm", "q", "k", "v", "proj_out")))
    return names


def _vae_residual(block: str) -> list[str]:
    return _both(*(f"{block}.{stem}" for stem in ("norm1", "conv1", "norm2", "conv2", "nin_shortcut")))
