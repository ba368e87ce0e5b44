"""A drawn world with a narrow, really trained model chain in the official file layouts.

It is the demo that needs no download, what end-to-end tests measure, and the trainer's own proof. Nothing in
the product knows of it.
"""

from pathlib import Path

MODELS = Path(__file__).parent / "models"
"""The model folder with the trained chain."""

SAMPLES = Path(__file__).parent / "samples"
"""Pictures of people who were never part of any training, several of each."""

TRAINED = Path(__file__).parent / "trained"
"""Results of single recipes that are kept, so that training goes on from them."""
