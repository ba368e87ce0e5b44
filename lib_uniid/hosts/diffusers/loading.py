"""Loads the networks of a checkpoint: a single file, or a folder in diffusers' layout."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel

from lib_uniid import json_text
from lib_uniid.attention.sites import find_sites, shape_of
from lib_uniid.bases import STANDALONE, Base, UNetShape, of_unet, titles
from lib_uniid.checkpoints.reading import read, require_finite_tensors
from lib_uniid.errors import UnknownCheckpointError
from lib_uniid.failures import reading
from lib_uniid.hosts.diffusers.ldm import Networks, networks
from lib_uniid.hosts.diffusers.ldm_hints import hints_beside
from lib_uniid.hosts.diffusers.ldm_text import kind_of

INDEX = "model_index.json"


def from_file(path: Path) -> Networks:
    """A checkpoint in the original layout, with the settings in the files beside it."""
    loaded = networks(read(path), hints_beside(path), path.name)
    if _family(loaded.unet, path.name) is not loaded.base:
        raise UnknownCheckpointError(
            f"{path.name} is not {loaded.base.checkpoint}: its UNet has {_shape(loaded.unet)}; "
            f"give a {titles(STANDALONE)} model"
        )
    _require_text_of(loaded, path.name)
    return loaded


def from_folder(folder: Path) -> Networks:
    """A folder in diffusers' layout; nothing is downloaded."""
    if not (folder / INDEX).is_file():
        raise UnknownCheckpointError(
            f"{folder.name} is not a diffusers folder: {INDEX} is missing; give a checkpoint file or a "
            "diffusers folder"
        )
    unet = _part(UNet2DConditionModel, folder, "unet")
    base = _family(unet, folder.name)
    loaded = Networks(
        unet=unet,
        vae=_part(AutoencoderKL, folder, "vae"),
        text_models=tuple(
            _part(kind_of(encoder), folder, "text_encoder" if number == 1 else f"text_encoder_{number}")
            for number, encoder in enumerate(base.text_encoders, start=1)
        ),
        base=base,
        prediction=_scheduler_config(folder).get("prediction_type", "epsilon"),
    )
    _require_text_of(loaded, folder.name)
    return loaded


def _part(kind: type[Any], folder: Path, part: str) -> Any:
    try:
        network = kind.from_pretrained(folder / part, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UnknownCheckpointError(f"{folder.name} cannot be read: {error}") from error
    require_finite_tensors(network.state_dict(), f"{folder.name}/{part}")
    return network.requires_grad_(False).eval()


def _shape(unet: UNet2DConditionModel) -> UNetShape:
    return shape_of(find_sites(unet))


def _family(unet: UNet2DConditionModel, name: str) -> Base:
    base = of_unet(_shape(unet))
    if base is None or base not in STANDALONE:
        raise UnknownCheckpointError(
            f"{name} is not a {titles(STANDALONE)} model: its UNet has {_shape(unet)}; "
            f"give a {titles(STANDALONE)} model"
        )
    return base


def _require_text_of(loaded: Networks, name: str) -> None:
    """The UNet reads as many channels as the texts have."""
    reads = _shape(loaded.unet).context
    writes = sum(text.config.hidden_size for text in loaded.text_models)
    if reads != writes:
        raise UnknownCheckpointError(
            f"the parts of {name} do not fit together: its UNet reads text of {reads} channels, its text "
            f"models give {writes}; give a {loaded.base.title} model"
        )


def _scheduler_config(folder: Path) -> dict[str, Any]:
    config = folder / "scheduler" / "scheduler_config.json"
    return _read(config, folder) if config.is_file() else {}


def _read(file: Path, folder: Path) -> dict[str, Any]:
    with reading(file):
        value = json_text.read(file)
    if not isinstance(value, dict):
        raise UnknownCheckpointError(
            f"{folder.name} cannot be read: {file.name} must be a JSON object; download the model again"
        )
    return value
