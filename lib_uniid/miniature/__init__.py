"""A drawn world with a narrow, really trained model chain in the official file layouts.

It is the demo that needs no download, what end-to-end tests measure, and the trainer's own proof. Nothing in
the product knows of it.
"""

from pathlib import Path

from lib_uniid.errors import MissingModelError

MODELS = Path(__file__).parent / "models"
"""The model folder with the trained chain."""

SAMPLES = Path(__file__).parent / "samples"
"""Pictures of people who were never part of any training, several of each."""

TRAINED = Path(__file__).parent / "trained"
"""Results of single recipes that are kept, so that training goes on from them."""


LICENCE = "Apache-2.0, as UniID: trained by this project on pictures that it drew"

SHIPPED: dict[str, str] = {"meters.safetensors": "measures pictures in the miniature's evaluation"}
"""What ships with the models and is none of the published files, and what it does."""


def is_shipped(path: Path) -> bool:
    """Whether a file, or each model in a folder, is one of the miniature's, wherever it was copied to."""
    ours = {(file.name, file.stat().st_size) for file in MODELS.rglob("*") if file.is_file()}
    files = [path] if path.is_file() else [*path.rglob("*.onnx"), *path.rglob("*.safetensors")]
    return bool(files) and all((file.name, file.stat().st_size) in ours for file in files)


def trained_models() -> Path:
    """The model folder, or MissingModelError where the chain was not trained yet."""
    if not any(MODELS.glob("Stable-diffusion/*.safetensors")):
        raise MissingModelError(
            "the miniature's weights are not in this checkout; train them with "
            "'python -m lib_uniid.miniature.recipes' (some hours on two cores), "
            "then 'python -m lib_uniid.miniature.assemble'"
        )
    return MODELS
