"""A drawn world with a narrow, really trained model chain in the official file layouts.

It is the demo that needs no download, what end-to-end tests measure, and the trainer's own proof. Nothing in
the product depends on.
"""

from pathlib import Path

from lib_uniid.errors import MissingModelError

MODELS = Path(__file__).parent / "models"
"""The model folder with the trained chain."""

SAMPLES = Path(__file__).parent / "samples"
"""Pictures of people who were never part of any training, several of each."""

TRAINED = Path(__file__).parent / "trained"
"""Results of single recipes that are kept, so that training goes on from them."""


def trained_models() -> Path:
    """The model folder, or MissingModelError where the chain was not trained yet."""
    if not any(MODELS.glob("Stable-diffusion/*.safetensors")):
        raise MissingModelError(
            "the miniature's weights are not in this checkout; train them with "
            "'python -m miniature.recipes' (some hours on two cores), "
            "then 'python -m miniature.assemble'"
        )
    return MODELS
