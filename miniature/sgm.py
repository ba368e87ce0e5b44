"""The files beside a narrow SDXL checkpoint: sgm's ``.yaml``, and the settings of both text models.

AUTOMATIC1111 takes the folder of the first text model from where it works, and the settings of the second
from open_clip's registry, into which ``open_clip.add_model_config(folder)`` puts them. Forge takes the sizes
from its own files.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_uniid.hosts.diffusers.tokenizer import write_tokenizer

SCALE_FACTOR = 0.13025
WORDS = 49408
_MODULES = "sgm.modules"
_SIZES = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSizes:
    """A text model's; open_clip's layers are four times as wide inside."""

    width: int
    heads: int
    layers: int
    inner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of the networks of a checkpoint.

    Attributes:
        unet: channels of every level.
        head: channels of a head.
        time: channels of each number on the size.
        pooled: of the pooled text.
        latent: rows of the latents of training pictures.
        vae: channels of each level; the first divides the others.
        vae_layers: of each level.
    """

    unet: int
    head: int
    time: int
    pooled: int
    latent: int
    texts: tuple[TextSizes, TextSizes]
    vae: tuple[int, ...]
    vae_layers: int = 1


def write_settings(folder: Path, name: str, sizes: Sizes, working_folder: str = "") -> None:
    """For ``folder/name.safetensors``; ``working_folder`` is the path of ``folder`` where a WebUI works."""
    first, second = sizes.texts
    text = folder / f"{name}-text"
    text.mkdir(exist_ok=True)
    _write(text / "config.json", _clip(first))
    write_tokenizer(text)
    _write(folder / f"{name}-text-2.json", _open_clip(second, sizes.pooled))
    embedders = [_first(f"{working_folder}{name}-text", first), _second(f"{name}-text-2")]
    embedders += [_embedder(one, "ConcatTimestepEmbedderND", {"outdim": sizes.time}) for one in _SIZES]
    _write_yaml(folder / f"{name}.yaml", sizes, embedders)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_yaml(path: Path, sizes: Sizes, embedders: list[dict[str, Any]]) -> None:
    import yaml

    params = {
        "scale_factor": SCALE_FACTOR,
        "disable_first_stage_autocast": True,
        "denoiser_config": _denoiser(),
        "network_config": _part(f"{_MODULES}.diffusionmodules.openaimodel.UNetModel", _unet(sizes)),
        "conditioner_config": _part(f"{_MODULES}.GeneralConditioner", {"emb_models": embedders}),
        "first_stage_config": _part("sgm.models.autoencoder.AutoencoderKLInferenceWrapper", _vae(sizes)),
    }
    # sgm has no place for the size, and refuses a parameter that it does not know.
    model = {"target": "sgm.models.diffusion.DiffusionEngine", "image_size": sizes.latent, "params": params}
    path.write_text(yaml.safe_dump({"model": model}, sort_keys=False), encoding="utf-8")


def _part(target: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"target": target, "params": params}


def _denoiser() -> dict[str, Any]:
    parts = f"{_MODULES}.diffusionmodules"
    return _part(
        f"{parts}.denoiser.DiscreteDenoiser",
        {
            "num_idx": 1000,
            "weighting_config": {"target": f"{parts}.denoiser_weighting.EpsWeighting"},
            "scaling_config": {"target": f"{parts}.denoiser_scaling.EpsScaling"},
            "discretization_config": {"target": f"{parts}.discretizer.LegacyDDPMDiscretization"},
        },
    )


def _unet(sizes: Sizes) -> dict[str, Any]:
    return {
        "adm_in_channels": sizes.pooled + 2 * len(_SIZES) * sizes.time,
        "num_classes": "sequential",
        "use_checkpoint": False,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": sizes.unet,
        "attention_resolutions": [4, 2],
        "num_res_blocks": 2,
        "channel_mult": [1, 1, 1],
        "num_head_channels": sizes.head,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "transformer_depth": [1, 2, 10],  # the first level has no attention
        "context_dim": sum(text.width for text in sizes.texts),
        "spatial_transformer_attn_type": "softmax",
        "legacy": False,
    }


def _vae(sizes: Sizes) -> dict[str, Any]:
    return {
        "embed_dim": 4,
        "monitor": "val/rec_loss",
        "ddconfig": {
            "attn_type": "vanilla",
            "double_z": True,
            "z_channels": 4,
            "resolution": 8 * sizes.latent,
            "in_channels": 3,
            "out_ch": 3,
            "ch": sizes.vae[0],
            "ch_mult": [width // sizes.vae[0] for width in sizes.vae],
            "num_res_blocks": sizes.vae_layers,
            "attn_resolutions": [],
            "dropout": 0.0,
        },
        "lossconfig": {"target": "torch.nn.Identity"},
    }


def _clip(text: TextSizes) -> dict[str, Any]:
    return {
        "model_type": "clip_text_model",
        "hidden_size": text.width,
        "intermediate_size": text.inner,
        "num_attention_heads": text.heads,
        "num_hidden_layers": text.layers,
        "hidden_act": "quick_gelu",
        "vocab_size": WORDS,
    }


def _open_clip(text: TextSizes, pooled: int) -> dict[str, Any]:
    if text.inner != 4 * text.width:
        raise ValueError(f"open_clip's layers are {4 * text.width} wide inside, not {text.inner}")
    return {
        "embed_dim": pooled,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},  # made and thrown away
        "text_cfg": {"vocab_size": WORDS, "width": text.width, "heads": text.heads, "layers": text.layers},
    }


def _first(version: str, text: TextSizes) -> dict[str, Any]:
    layer = {"layer": "hidden", "layer_idx": text.layers - 1}  # the last but one
    return _embedder("txt", "FrozenCLIPEmbedder", {"version": version, **layer})


def _second(arch: str) -> dict[str, Any]:
    states = {"layer": "penultimate", "always_return_pooled": True, "legacy": False}
    params = {"arch": arch, "version": None, "freeze": True, **states}
    return _embedder("txt", "FrozenOpenCLIPEmbedder2", params)


def _embedder(key: str, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    target = f"{_MODULES}.encoders.modules.{kind}"
    return {"is_trainable": False, "input_key": key, "target": target, "params": params}
