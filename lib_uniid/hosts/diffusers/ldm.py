"""Single-file checkpoints of Stable Diffusion in their original (ldm) layout, of any width.

Sizes come from the tensors' shapes. The numbers of heads, the text model's activation, the latent scale and
the prediction type come from a ``.yaml`` of the same name, which AUTOMATIC1111 reads too, and are else those
of the base family.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from lib_uniid import json_text
from lib_uniid.bases import STANDALONE, Base, of_checkpoint, titles
from lib_uniid.checkpoints.families import identify
from lib_uniid.checkpoints.header import Header
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError
from lib_uniid.weights import load_exactly

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."

State = Mapping[str, Tensor]
Value = TypeVar("Value", int, float, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """The settings that a checkpoint's tensors do not contain; None takes the value of the base family."""

    unet_heads: int | tuple[int, ...] | None = None
    text_heads: int | None = None
    text_activation: str | None = None
    latent_scale: float | None = None
    latent_side: int | None = None
    prediction: str = "epsilon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The three networks of a Stable Diffusion model, on the CPU in the file's own precision."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_model: CLIPTextModel
    prediction: str
    base: Base


def networks(state: State, hints: Hints, name: str) -> Networks:
    """Build the networks of a checkpoint; ``name`` is its name in errors.

    ``UnknownCheckpointError`` for another base model, ``CheckpointMismatchError`` if a tensor is missing or
    has the wrong shape.
    """
    state = {key.removeprefix("state_dict."): tensor for key, tensor in state.items()}  # .ckpt files nest it
    base = _family(state, name)
    hints = _completed(hints, base)
    try:
        return Networks(
            unet=_unet(state, hints, name),
            vae=_vae(state, hints, name),
            text_model=_text_model(state, hints, name),
            prediction=hints.prediction,
            base=base,
        )
    except KeyError as missing:
        key = str(missing.args[0])
        message = f"{name} is incomplete: the tensor {key} is missing; download it again"
        raise CheckpointMismatchError(message, missing=[key]) from None


def hints_beside(checkpoint: Path) -> Hints:
    """Read the ``.yaml`` of the same name; without one, the values of the base family."""
    path = checkpoint.with_suffix(".yaml")
    if not path.is_file():
        return Hints()
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        unet = params["unet_config"]["params"]
        text = _text_config(params.get("cond_stage_config", {}).get("params", {}).get("version"), path.parent)
        return Hints(
            unet_heads=_given(int, unet.get("num_heads")),
            text_heads=_given(int, text.get("num_attention_heads")),
            text_activation=_given(str, text.get("hidden_act")),
            latent_scale=_given(float, params.get("scale_factor")),
            latent_side=_given(int, params.get("image_size")),
            prediction={"v": "v_prediction"}.get(params.get("parameterization", "eps"), "epsilon"),
        )
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UnknownCheckpointError(
            f"{path.name} is not an ldm configuration ({type(error).__name__}: {error}); "
            f"repair it, or remove it if the checkpoint is an ordinary {titles(STANDALONE)} model"
        ) from error


def _text_config(version: object, folder: Path) -> dict[str, Any]:
    """The text model's config.json if ``version`` names a folder (ldm passes it on), else empty.

    A WebUI resolves such a folder from its working directory; here it is searched beside the checkpoint.
    """
    name = str(version)
    folders = (folder / name, folder / Path(name).name)
    paths = [one / "config.json" for one in folders if (one / "config.json").is_file()]
    if version is None or not paths:
        return {}
    config = json_text.read(paths[0])
    return config.get("text_config", config)


def _family(state: State, name: str) -> Base:
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    family = identify(Header(path=Path(name), container="safetensors", shapes=shapes))
    base = of_checkpoint(family)
    if base not in STANDALONE:
        raise UnknownCheckpointError(f"{name} is {family}; give a {titles(STANDALONE)} checkpoint")
    return base


def _completed(hints: Hints, base: Base) -> Hints:
    (text,) = base.text_encoders
    return replace(
        hints,
        unet_heads=hints.unet_heads or base.unet_heads,
        text_heads=hints.text_heads or text.heads,
        text_activation=hints.text_activation or text.activation,
        latent_scale=hints.latent_scale or base.latent_scale,
        latent_side=hints.latent_side or base.latent_side,
    )


def _given(kind: type[Value], value: Any) -> Value | None:
    return None if value is None else kind(value)


def _unet(state: State, hints: Hints, name: str) -> UNet2DConditionModel:
    config = _unet_config({key.removeprefix(UNET): tensor for key, tensor in state.items()}, hints)
    with init_empty_weights():
        unet = UNet2DConditionModel(**config)
    _load(unet, convert_ldm_unet_checkpoint(dict(state), config), f"the UNet of {name}")
    return unet


def _unet_config(state: State, hints: Hints) -> dict[str, Any]:
    """Constructor arguments of diffusers' UNet; a level of the file ends with a downsampler (``.0.op``)."""
    downsamplers = _indices(state, r"input_blocks\.(\d+)\.0\.op\.weight")
    firsts = [1, *(number + 1 for number in downsamplers)]
    kinds = [("CrossAttn" if f"input_blocks.{n}.1.norm.weight" in state else "", "Block2D") for n in firsts]
    return {
        "sample_size": hints.latent_side,
        "in_channels": state["input_blocks.0.0.weight"].shape[1],
        "out_channels": state["out.2.weight"].shape[0],
        "block_out_channels": tuple(
            state[f"input_blocks.{number}.0.out_layers.3.weight"].shape[0] for number in firsts
        ),
        "layers_per_block": downsamplers[0] - 1 if downsamplers else 1,
        "down_block_types": tuple(f"{cross}Down{block}" for cross, block in kinds),
        "up_block_types": tuple(f"{cross}Up{block}" for cross, block in reversed(kinds)),
        "cross_attention_dim": state["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "attention_head_dim": hints.unet_heads,  # diffusers' name for the number of heads
    }


def _vae(state: State, hints: Hints, name: str) -> AutoencoderKL:
    state = {key: tensor for key, tensor in state.items() if key.startswith(VAE)}
    levels = len(_indices(state, VAE + r"encoder\.down\.(\d+)\."))
    layers = len(_indices(state, VAE + r"encoder\.down\.0\.block\.(\d+)\."))
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
    _load(vae, convert_ldm_vae_checkpoint(state, config), f"the VAE of {name}")
    return vae


def _text_model(state: State, hints: Hints, name: str) -> CLIPTextModel:
    text = {  # files older than transformers 4.30 carry a buffer; some mergers drop the inner prefix
        key.removeprefix(TEXT).removeprefix("text_model."): tensor
        for key, tensor in state.items()
        if key.startswith(TEXT) and not key.endswith("position_ids")
    }
    vocabulary, width = text["embeddings.token_embedding.weight"].shape
    assert hints.text_heads is not None, "the base family completed the hints"
    assert hints.text_activation is not None, "the base family completed the hints"
    if width % hints.text_heads:
        raise CheckpointMismatchError(
            f"the text model of {name} has width {width}, not a multiple of its {hints.text_heads} heads; "
            "name a folder with its config.json as cond_stage_config.params.version in the .yaml beside it"
        )
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=text["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=len(_indices(text, r"encoder\.layers\.(\d+)\.")),
        num_attention_heads=hints.text_heads,
        max_position_embeddings=text["embeddings.position_embedding.weight"].shape[0],
        hidden_act=hints.text_activation,
    )
    with init_empty_weights():
        model = CLIPTextModel(config)
    inner = "text_model." if next(iter(model.state_dict())).startswith("text_model.") else ""
    _load(model, {inner + key: tensor for key, tensor in text.items()}, f"the text model of {name}")
    return model


def _load(module: nn.Module, state: State, part: str) -> None:
    load_exactly(module, state, part)
    module.requires_grad_(False).eval()


def _indices(state: State, pattern: str) -> list[int]:
    """The numbers in the pattern's group over all keys, sorted."""
    return sorted({int(found[1]) for key in state if (found := re.match(pattern, key))})
