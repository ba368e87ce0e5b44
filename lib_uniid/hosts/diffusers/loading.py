"""Loads the networks of a checkpoint: a single file, or a folder in diffusers' layout."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from lib_uniid import json_text
from lib_uniid.attention.sites import find_sites, shape_of
from lib_uniid.bases import STANDALONE, of_unet, titles
from lib_uniid.checkpoints.reading import read, require_finite_tensors
from lib_uniid.errors import UnknownCheckpointError
from lib_uniid.failures import reading
from lib_uniid.hosts.diffusers.ldm import Networks, hints_beside, networks


def from_file(path: Path) -> Networks:
    """A checkpoint in the original layout, with the settings in the files beside it."""
    return networks(read(path), hints_beside(path), path.name)


def from_folder(folder: Path) -> Networks:
    """A folder in diffusers' layout; nothing is downloaded."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise UnknownCheckpointError(
            f"{folder.name} is not a diffusers folder: model_index.json is missing; give a checkpoint file "
            "or a diffusers folder"
        )
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    try:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", **options)
        vae = AutoencoderKL.from_pretrained(folder / "vae", **options)
        text_model = CLIPTextModel.from_pretrained(folder / "text_encoder", **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UnknownCheckpointError(f"{folder.name} cannot be read: {error}") from error
    for part, module in (("unet", unet), ("vae", vae), ("text_encoder", text_model)):
        require_finite_tensors(module.state_dict(), f"{folder.name}/{part}")
    shape, writes = shape_of(find_sites(unet)), text_model.config.hidden_size
    base = of_unet(shape)
    if base not in STANDALONE or shape.context != writes:
        raise UnknownCheckpointError(
            f"{folder.name} is not a {titles(STANDALONE)} model: its UNet has {shape}, its text model gives "
            f"{writes}; give a {titles(STANDALONE)} model"
        )
    config = folder / "scheduler" / "scheduler_config.json"
    with reading(config):
        saved = json_text.read(config) if config.is_file() else {}
    if not isinstance(saved, dict):
        raise UnknownCheckpointError(
            f"{folder.name} cannot be read: {config.name} must be a JSON object; download the model again"
        )
    return Networks(
        unet=unet.requires_grad_(False).eval(),
        vae=vae.requires_grad_(False).eval(),
        text_model=text_model.requires_grad_(False).eval(),
        base=base,
        prediction=saved.get("prediction_type", "epsilon"),
    )
