"""The CLIP-shaped image tower: a narrow ViT that reads what a face looks like off its 224-pixel crop.

It is supervised by the world's own parameters through the projection, not by contrast with texts; the linear
readout is thrown away and the tower kept in transformers' layout.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_uniid.encoders.pixels import CLIP_MEAN, CLIP_STD
from miniature.characters import HAIR_COLOURS, TRAITS, sample_identities
from miniature.recipes.course import Course
from miniature.recipes.faces import draw_aligned
from miniature.recipes.team import Team

SEED = 25


def new_tower() -> Any:
    """Four layers of width 64 over 16 x 16 patches."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            projection_dim=64,
            image_size=224,
            patch_size=14,
            hidden_act="gelu",
        )
    )


class Reader(nn.Module):
    """Tower and readout together."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = new_tower()
        self.readout = nn.Linear(64, len(TRAITS) + 4 + len(HAIR_COLOURS))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        read = self.readout(self.tower(pixel_values=pixels).image_embeds)
        return read[:, : -len(HAIR_COLOURS)], read[:, -len(HAIR_COLOURS) :]


def normalised(faces: Tensor) -> Tensor:
    """CLIP's pixel values at 224 from crops in [0, 1]."""
    faces = F.interpolate(faces, size=224, mode="bilinear", align_corners=False)
    return (faces - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]


def train(out: Path, steps: int, batch: int) -> None:
    """Train and write ``out/clip.pt``."""
    team = Team.join()
    torch.manual_seed(SEED)
    model, generator = Reader(), team.generator(SEED)
    course = Course(team=team, module=model, steps=steps, rate=1.5e-3, log=out / "clip.jsonl", warm_up=50)
    for step in course.run():
        who = sample_identities(batch, generator)
        faces, looks = draw_aligned(who, generator, 80)
        numbers, hair = model(normalised(faces))
        truth = torch.cat([who, torch.stack([looks.smile, looks.age, looks.glasses, looks.yaw], 1)], 1)
        errors = (numbers - truth).square().mean(0)
        step.loss = (
            errors[: len(TRAITS)].mean()
            + errors[len(TRAITS) :].mean()
            + 0.2 * F.cross_entropy(hair, looks.hair)
        )
        step.notes = {"smile": errors[-4].detach(), "hair": (hair.argmax(1) == looks.hair).float().mean()}
    if team.rank == 0:
        torch.save(model.tower.state_dict(), out / "clip.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=24, help="per process")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.batch)
