"""Results that came with the repository, each in one file: some of them in the models folder alone."""

from safetensors.torch import load_file
from torch import Tensor

from miniature import MODELS, TRAINED
from miniature.ldm_layout import names_of_unet
from miniature.recipes.base import new_unet

CHECKPOINT = MODELS / "Stable-diffusion" / "uniid-miniature.safetensors"
IN_MODELS = {
    "clip": MODELS / "uniid" / "image_encoder" / "model.safetensors",
    "curricularface": MODELS / "uniid" / "curricular_face_backbone.safetensors",
    "meters": MODELS / "uniid" / "meters.safetensors",
}
_TEXT = "cond_stage_model.transformer.text_model."


def kept_results() -> list[str]:
    """The recipes' results that need not be trained again, in alphabetical order."""
    in_models = [name for name, path in IN_MODELS.items() if path.exists()]
    return sorted(in_models + [path.stem for path in TRAINED.glob("*.safetensors")])


def kept_result(name: str) -> dict[str, Tensor] | None:
    """What a recipe trained, in half precision; None where it has to be trained."""
    path = IN_MODELS.get(name, TRAINED / f"{name}.safetensors")
    if not path.exists() or (name == "base" and not CHECKPOINT.exists()):
        return None
    state = load_file(path)
    return state | _base_of_checkpoint(load_file(CHECKPOINT)) if name == "base" else state


def _base_of_checkpoint(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    """The UNet and the text model, under the names that they have while they are trained."""
    unet = {f"unet.{ours}": checkpoint[theirs] for ours, theirs in names_of_unet(new_unet()).items()}
    text = {
        f"text.{name.removeprefix(_TEXT)}": tensor
        for name, tensor in checkpoint.items()
        if name.startswith(_TEXT)
    }
    return unet | text
