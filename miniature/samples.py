"""Draw the sample people: a few pictures each of people outside the training data.

python -m miniature.samples
"""

from pathlib import Path

import torch
from PIL import Image

from miniature import SAMPLES
from miniature.characters import sample_identities
from miniature.world import as_pictures, portraits

SEED = 7_000_023  # of thirty seeds the one whose people are least alike
NAMES = ("Anna", "Ben", "Chloe", "David")
PICTURES = 3


def draw_samples(folder: Path, seed: int = SEED) -> list[Path]:
    """Write ``PICTURES`` pictures of each of ``NAMES``, each with a look of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    who = sample_identities(len(NAMES), generator)
    written: list[Path] = []
    for number in range(1, PICTURES + 1):
        drawn, _ = portraits(who, generator, plain_style=True)
        for name, picture in zip(NAMES, as_pictures(drawn), strict=True):
            path = folder / f"{name}-{number}.png"
            Image.fromarray(picture).save(path, optimize=True)
            written.append(path)
    return written


if __name__ == "__main__":
    draw_samples(SAMPLES)
