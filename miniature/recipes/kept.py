"""Results that came with the repository, each in one file: most of them in the models folder alone."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from miniature import MODELS, TRAINED
from miniature.ldm_layout import names_of_unet, names_of_vae
from miniature.recipes.base import new_unet
from miniature.recipes.vae import WIDTHS, new_vae
from miniature.widening import multiples, narrowed

CHECKPOINT = MODELS / "Stable-diffusion" / "uniid-miniature.safetensors"
IN_MODELS = {
    "clip": MODELS / "uniid" / "image_encoder" / "model.safetensors",
    "curricularface": MODELS / "uniid" / "curricular_face_backbone.safetensors",
    "meters": MODELS / "uniid" / "meters.safetensors",
}
PACK = MODELS / "insightface" / "models" / "miniature"
EXPORTED = {"detector": PACK / "det_10g.onnx", "judge": PACK / "w600k_r50.onnx"}
"""Kept as exported: they can be assembled again, and not be trained further, as norms are in convolutions."""
_TEXT = "cond_stage_model.transformer.text_model."

State = dict[str, Tensor]


def kept_results() -> list[str]:
    """The recipes' results that need not be trained again, in alphabetical order."""
    in_models = [name for name, path in (IN_MODELS | EXPORTED).items() if path.exists()]
    return sorted(in_models + [path.stem for path in TRAINED.glob("*.safetensors")])


def kept_export(name: str) -> Path | None:
    """The ONNX file that is kept of a result; None where none is."""
    path = EXPORTED.get(name)
    return path if path is not None and path.exists() else None


def kept_result(name: str) -> State | None:
    """What a recipe trained, in half precision; None where it has to be trained, or only its export is kept.

    ``base`` and ``vae`` are cut out of the checkpoint. ``trained`` has what the checkpoint lacks of them.
    """
    path = IN_MODELS.get(name, TRAINED / f"{name}.safetensors")
    cut = {"base": _base_of, "vae": _vae_of}.get(name)
    if not path.exists() or (cut is not None and not CHECKPOINT.exists()):
        return None
    state = load_file(path)
    return state if cut is None else cut(load_file(CHECKPOINT)) | state


def _base_of(checkpoint: State) -> State:
    """The UNet and the text model, under the names that they have while they are trained."""
    unet = {f"unet.{ours}": checkpoint[theirs] for ours, theirs in names_of_unet(new_unet()).items()}
    text = {
        f"text.{name.removeprefix(_TEXT)}": tensor
        for name, tensor in checkpoint.items()
        if name.startswith(_TEXT)
    }
    return unet | text


def _vae_of(checkpoint: State) -> State:
    """The autoencoder in its own widths; the convolutions beside the latents are scaled in the checkpoint."""
    wide = new_vae(tuple(WIDTHS[0] * multiple for multiple in multiples(WIDTHS)))
    shapes = {name: tensor.shape for name, tensor in wide.state_dict().items()}
    state = {ours: checkpoint[theirs].reshape(shapes[ours]) for ours, theirs in names_of_vae(wide).items()}
    return narrowed(state, WIDTHS)
