"""The UNet and the VAE of a checkpoint in the original (ldm) layout, of any width."""

from collections.abc import Sequence
from typing import Any

from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.hosts.diffusers.ldm_hints import Hints
from lib_uniid.hosts.diffusers.ldm_state import State, indices, load

UNET, VAE = "model.diffusion_model.", "first_stage_model."

SIZE_NUMBERS = 6
"""Height and width of the original, top and left of its part, height and width of the picture."""


def unet_of(state: State, hints: Hints, pooled: int, name: str) -> UNet2DConditionModel:
    """The UNet; ``pooled`` are the channels of the pooled text that it reads."""
    own = {key.removeprefix(UNET): tensor for key, tensor in state.items() if key.startswith(UNET)}
    part = f"the UNet of {name}"
    config = _blocks(own) | _heads(own, hints, part) | _conditions(own, pooled, part)
    config["sample_size"] = hints.latent_side
    with init_empty_weights():
        unet = UNet2DConditionModel(**config)
    load(unet, convert_ldm_unet_checkpoint(dict(state), config), part)
    return unet


def _firsts(state: State) -> list[int]:
    """The first input block of each level; a level of the file ends with a downsampler (``.0.op``)."""
    return [1, *(number + 1 for number in indices(state, r"input_blocks\.(\d+)\.0\.op\.weight"))]


def _widths(state: State) -> tuple[int, ...]:
    return tuple(state[f"input_blocks.{n}.0.out_layers.3.weight"].shape[0] for n in _firsts(state))


def _blocks(state: State) -> dict[str, Any]:
    """Constructor arguments of diffusers' UNet that say which blocks it has."""
    firsts = _firsts(state)
    depths = [_depth(state, f"input_blocks.{number}.1") for number in firsts]
    kinds = [("CrossAttn" if depth else "", "Block2D") for depth in depths]
    return {
        "in_channels": state["input_blocks.0.0.weight"].shape[1],
        "out_channels": state["out.2.weight"].shape[0],
        "block_out_channels": _widths(state),
        "layers_per_block": firsts[1] - 2 if len(firsts) > 1 else 1,
        "down_block_types": tuple(f"{cross}Down{block}" for cross, block in kinds),
        "up_block_types": tuple(f"{cross}Up{block}" for cross, block in reversed(kinds)),
        "transformer_layers_per_block": _with_middle(depths, _depth(state, "middle_block.1")),
        "cross_attention_dim": state["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "use_linear_projection": state["middle_block.1.proj_in.weight"].dim() == 2,  # else 1 x 1 convolutions
    }


def _with_middle(depths: Sequence[int], middle: int) -> tuple[int, ...]:
    """diffusers' list, in which the middle block has the last level's depth, also if that has none itself."""
    return tuple(max(1, depth) for depth in (*depths[:-1], depths[-1] or middle))


def _depth(state: State, attention: str) -> int:
    """The number of transformer blocks."""
    prefix = attention.replace(".", r"\.")
    return len(indices(state, prefix + r"\.transformer_blocks\.(\d+)\."))


def _heads(state: State, hints: Hints, part: str) -> dict[str, Any]:
    """diffusers' ``attention_head_dim`` is the number of heads, for all levels or for each."""
    widths = _widths(state)
    if hints.head_width:
        heads = tuple(max(1, width // hints.head_width) for width in widths)
    else:
        heads = hints.unet_heads
    each = heads if isinstance(heads, tuple) else (heads,) * len(widths)
    attending = [bool(_depth(state, f"input_blocks.{number}.1")) for number in _firsts(state)]
    for width, count, attends in zip(widths, each, attending, strict=True):
        if attends and width % (count or 1):
            raise CheckpointMismatchError(
                f"{part} has levels of {width} channels, not a multiple of {count} heads; give num_heads or "
                "num_head_channels in the .yaml beside it"
            )
    return {"attention_head_dim": heads}


def _conditions(state: State, pooled: int, part: str) -> dict[str, Any]:
    """The pooled text and numbers about the size, if the UNet reads them."""
    if not pooled:
        return {}
    width = state["label_emb.0.0.weight"].shape[1]
    numbers = width - pooled
    if numbers <= 0 or numbers % SIZE_NUMBERS:
        raise CheckpointMismatchError(
            f"{part} reads {width} channels beside the text, not the {pooled} of its pooled text and "
            f"{SIZE_NUMBERS} numbers of equal width; the file is of another type; get the matching one"
        )
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": numbers // SIZE_NUMBERS,
        "projection_class_embeddings_input_dim": width,
    }


def vae_of(state: State, hints: Hints, name: str) -> AutoencoderKL:
    """The autoencoder."""
    state = {key: tensor for key, tensor in state.items() if key.startswith(VAE)}
    levels = len(indices(state, VAE + r"encoder\.down\.(\d+)\."))
    layers = len(indices(state, VAE + r"encoder\.down\.0\.block\.(\d+)\."))
    config: dict[str, Any] = {
        "in_channels": state[VAE + "encoder.conv_in.weight"].shape[1],
        "out_channels": state[VAE + "decoder.conv_out.weight"].shape[0],
        "latent_channels": state[VAE + "post_quant_conv.weight"].shape[0],
        "block_out_channels": tuple(
            state[f"{VAE}encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in range(levels)
        ),
        "layers_per_block": layers,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "scaling_factor": hints.latent_scale,
    }
    with init_empty_weights():
        vae = AutoencoderKL(**config)
    load(vae, convert_ldm_vae_checkpoint(state, config), f"the VAE of {name}")
    return vae
