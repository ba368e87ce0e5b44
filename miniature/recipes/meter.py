"""Meters: small readers of what a picture shows, for evaluation alone. Words are kept if a meter reads them.

One reads aligned faces (smile, age, glasses, hair), one whole pictures (place, style). They see drawings that
lost detail as decoded pictures do, with landmarks a little off.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from miniature.characters import HAIR_COLOURS, sample_identities
from miniature.recipes.course import Course
from miniature.recipes.faces import degrade, draw_aligned
from miniature.recipes.team import Team
from miniature.scenes import PLACES, STYLES
from miniature.world import draw, sample_scenes

SEED = 27
FACE_SIZE, SCENE_SIZE = 56, 64
LOOKS = ("smile", "age", "glasses")


def _reader(outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in ((3, 24), (24, 48), (48, 96), (96, 128)):
        layers += [nn.Conv2d(before, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 128, outputs))


class Meters(nn.Module):
    """Both readers; faces are ``[n 3 56 56]`` and scenes ``[n 3 64 64]`` in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.face = _reader(len(LOOKS) + len(HAIR_COLOURS))
        self.scene = _reader(len(PLACES) + len(STYLES))

    def looks(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers for ``LOOKS`` ``[n 3]`` and logits of hair colours ``[n 5]``."""
        read = self.face(faces * 2 - 1)
        return read[:, : len(LOOKS)], read[:, len(LOOKS) :]

    def scenery(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of places and of styles."""
        read = self.scene(pictures * 2 - 1)
        return read[:, : len(PLACES)], read[:, len(PLACES) :]


def train(out: Path, steps: int, batch: int) -> None:
    """Train and write ``out/meters.pt``."""
    team = Team.join()
    torch.manual_seed(SEED)
    meters, generator = Meters().train(), team.generator(SEED)
    course = Course(
        team=team, module=meters, steps=steps, rate=3e-3, log=out / "meters.jsonl", weight_decay=0.02
    )
    for step in course.run():
        faces, looks = draw_aligned(sample_identities(batch, generator), generator, FACE_SIZE)
        numbers, hair = meters.looks(faces)
        truth = torch.stack([getattr(looks, name) for name in LOOKS], 1)
        scene = sample_scenes(batch // 4, int(torch.randint(1, 4, (1,), generator=generator)), generator)
        small = F.avg_pool2d(draw(scene, generator), 2)
        place, style = meters.scenery(degrade(small, generator))
        step.loss = (numbers - truth).square().mean() + 0.3 * F.cross_entropy(hair, looks.hair)
        step.loss = (
            step.loss + 0.3 * F.cross_entropy(place, scene.place) + 0.3 * F.cross_entropy(style, scene.style)
        )
        step.notes = {
            "smile": (numbers[:, 0] - truth[:, 0]).square().mean().detach(),
            "hair": (hair.argmax(1) == looks.hair).float().mean(),
            "place": (place.argmax(1) == scene.place).float().mean(),
        }
    if team.rank == 0:
        torch.save(meters.state_dict(), out / "meters.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=48, help="per process")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.batch)
