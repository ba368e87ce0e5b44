"""Networks of diffusers and transformers written in Stable Diffusion's original (ldm, sgm) layouts.

The original names are listed here; diffusers' own converter, run on names instead of tensors, then tells
which tensor of a network each of them holds. Levels, layers and widths are free.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from einops import rearrange
from torch import Tensor, nn

State = dict[str, Tensor]

OPEN_CLIP_NAMES = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.": "ln_final.",
    "encoder.layers.": "transformer.resblocks.",
    ".layer_norm": ".ln_",
    ".self_attn.": ".attn.",
    ".fc1.": ".c_fc.",
    ".fc2.": ".c_proj.",
}
"""Parts of transformers' names of a text model, and open_clip's."""

LOGIT_SCALE = math.log(1 / 0.07)
"""open_clip's first value; pictures are made without it, but the files have it."""


def ldm_state(unet: nn.Module, vae: nn.Module, text_model: nn.Module) -> State:
    """A whole Stable Diffusion 1.x checkpoint, in half precision."""
    return _half(_unet_and_vae(unet, vae) | _clip(text_model, "cond_stage_model.transformer.text_model."))


def sdxl_state(unet: nn.Module, vae: nn.Module, text: nn.Module, text_2: nn.Module) -> State:
    """A whole SDXL checkpoint, in half precision.

    ``text`` is transformers' ``CLIPTextModel``, ``text_2`` its ``CLIPTextModelWithProjection``.
    """
    texts = _clip(text, "conditioner.embedders.0.transformer.text_model.")
    texts |= _open_clip(text_2, "conditioner.embedders.1.model.")
    return _half(_unet_and_vae(unet, vae) | texts)


def _half(state: State) -> State:
    return {key: tensor.half().contiguous() for key, tensor in state.items()}


def _unet_and_vae(unet: nn.Module, vae: nn.Module) -> State:
    state = _renamed(unet, "model.diffusion_model.", _unet_names(unet), convert_ldm_unet_checkpoint)
    state |= _renamed(vae, "first_stage_model.", _vae_names(vae), convert_ldm_vae_checkpoint)
    for key in [key for key in state if re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight", key)]:
        state[key] = rearrange(state[key], "o i -> o i 1 1")  # ldm's VAE attends through 1 x 1 convolutions
    return state


def _clip(model: nn.Module, prefix: str) -> State:
    """A text model under transformers' names."""
    return {prefix + key.removeprefix("text_model."): tensor for key, tensor in model.state_dict().items()}


def _open_clip(model: nn.Module, prefix: str) -> State:
    """A text model with its projection in open_clip's layout: one matrix for query, key and value."""
    state = {key.removeprefix("text_model."): tensor for key, tensor in model.state_dict().items()}
    written = {
        "logit_scale": torch.tensor(LOGIT_SCALE),
        "text_projection": state.pop("text_projection.weight").T,  # the rows are multiplied with it
    }
    for key, tensor in state.items():
        if found := re.fullmatch(r"(.*self_attn)\.q_proj\.(weight|bias)", key):
            attention, kind = found.groups()
            fused = torch.cat([state[f"{attention}.{letter}_proj.{kind}"] for letter in "qkv"])
            written[_open_clip_name(f"{attention}.in_proj_{kind}")] = fused
        elif not re.search(r"self_attn\.[kv]_proj", key):
            written[_open_clip_name(key)] = tensor
    return {prefix + key: tensor for key, tensor in written.items()}


def _open_clip_name(name: str) -> str:
    for theirs, written in OPEN_CLIP_NAMES.items():
        name = name.replace(theirs, written)
    return name


def names_of_unet(unet: nn.Module) -> dict[str, str]:
    """The names of a UNet's tensors in a checkpoint, by those that they have in diffusers."""
    return _names(unet, "model.diffusion_model.", _unet_names(unet), convert_ldm_unet_checkpoint)


def names_of_vae(vae: Any) -> dict[str, str]:
    """The same of an autoencoder's."""
    return _names(vae, "first_stage_model.", _vae_names(vae), convert_ldm_vae_checkpoint)


def _renamed(module: Any, prefix: str, names: list[str], convert: Callable[..., State]) -> State:
    theirs = _names(module, prefix, names, convert)
    return {theirs[key]: tensor for key, tensor in module.state_dict().items()}


def _names(module: Any, prefix: str, names: list[str], convert: Callable[..., State]) -> dict[str, str]:
    ours = module.state_dict()
    numbered = {prefix + name: torch.tensor(number) for number, name in enumerate(names)}
    theirs = convert(numbered, dict(module.config))
    lost = ours.keys() - theirs.keys()
    if lost:
        raise KeyError(f"no ldm name for {sorted(lost)[:5]}")
    return {key: prefix + names[int(theirs[key])] for key in ours}


def _both(*stems: str) -> list[str]:
    return [f"{stem}.{kind}" for stem in stems for kind in ("weight", "bias")]


def _unet_names(unet: Any) -> list[str]:
    """Every name that a UNet of its levels can have; the converter takes what is there.

    A level ends with a downsampler in the input blocks, and with an upsampler beside its last layer in the
    output blocks.
    """
    levels, layers = len(unet.config["block_out_channels"]), unet.config["layers_per_block"]
    depths = [_depth_of(block) for block in unet.down_blocks]  # from the finest level to the coarsest
    names = _both("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    names += _both("label_emb.0.0", "label_emb.0.2")
    for level, depth in enumerate(depths):
        for layer in range(layers):
            names += _layer(f"input_blocks.{1 + level * (layers + 1) + layer}", depth)
        names += _both(f"input_blocks.{(level + 1) * (layers + 1)}.0.op")
        for layer in range(layers + 1):
            names += _layer(f"output_blocks.{(levels - 1 - level) * (layers + 1) + layer}", depth)
    for level in range(levels):
        last, attends = f"output_blocks.{level * (layers + 1) + layers}", bool(depths[levels - 1 - level])
        names += _both(f"{last}.{2 if attends else 1}.conv")
    return names + _layer("middle_block", _depth_of(unet.mid_block)) + _residual("middle_block.2")


def _depth_of(block: Any) -> int:
    """Transformer blocks of each of a block's attention layers."""
    attentions = getattr(block, "attentions", ())
    return len(attentions[0].transformer_blocks) if attentions else 0


def _layer(block: str, depth: int) -> list[str]:
    return _residual(f"{block}.0") + (_transformer(f"{block}.1", depth) if depth else [])


def _residual(block: str) -> list[str]:
    stems = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")
    return _both(*(f"{block}.{stem}" for stem in stems))


def _transformer(block: str, depth: int) -> list[str]:
    names = _both(f"{block}.norm", f"{block}.proj_in", f"{block}.proj_out")
    for number in range(depth):
        inner = f"{block}.transformer_blocks.{number}"
        stems = ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2")
        names += _both(*(f"{inner}.{stem}" for stem in stems))
        for attention in (f"{inner}.attn1", f"{inner}.attn2"):
            names += [f"{attention}.to_{letter}.weight" for letter in "qkv"] + _both(f"{attention}.to_out.0")
    return names


def _vae_names(vae: Any) -> list[str]:
    names, most = _both("quant_conv", "post_quant_conv"), vae.config["layers_per_block"]
    for half, direction, layers in (("encoder", "down", most), ("decoder", "up", most + 1)):
        names += _both(f"{half}.conv_in", f"{half}.conv_out", f"{half}.norm_out")
        for level in range(len(vae.config["block_out_channels"])):
            blocks = [f"{half}.{direction}.{level}.block.{layer}" for layer in range(layers)]
            names += [name for block in blocks for name in _vae_residual(block)]
            names += _both(f"{half}.{direction}.{level}.{direction}sample.conv")
        names += _vae_residual(f"{half}.mid.block_1") + _vae_residual(f"{half}.mid.block_2")
        names += _both(*(f"{half}.mid.attn_1.{stem}" for stem in ("norm", "q", "k", "v", "proj_out")))
    return names


def _vae_residual(block: str) -> list[str]:
    return _both(*(f"{block}.{stem}" for stem in ("norm1", "conv1", "norm2", "conv2", "nin_shortcut")))
