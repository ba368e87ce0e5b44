"""The face detector, in the layout of insightface's SCRFD (det_10g): three strides, two anchors, five points.

Narrow: the 640-pixel input is averaged down by four before the first convolution.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from miniature.recipes.course import Course
from miniature.recipes.team import Team
from miniature.world import draw, sample_scenes

SEED = 23
STRIDES = (8, 16, 32)
RANGES = ((0.0, 120.0), (90.0, 250.0), (200.0, 10_000.0))
"""Heights of the faces, in input pixels, that each stride answers for."""


def _unit(width_in: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ReLU())


def _head() -> nn.Conv2d:
    """Scores, boxes and points of both anchors; it begins by finding nothing."""
    head = nn.Conv2d(48, 2 * 15, 1)
    assert head.bias is not None
    nn.init.constant_(head.bias.view(2, 15)[:, 0], -4.0)
    return head


class Detector(nn.Module):
    """A small pyramid; ``forward`` gives insightface's nine outputs for one picture batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(_unit(3, 16, 2), _unit(16, 24))
        self.middle = nn.Sequential(_unit(24, 48, 2), _unit(48, 48))
        self.coarse = nn.Sequential(_unit(48, 64, 2), _unit(64, 64), _unit(64, 64), _unit(64, 64))
        self.lateral = nn.ModuleList(nn.Conv2d(width, 48, 1) for width in (24, 48, 64))
        self.smooth = nn.ModuleList(_unit(48, 48) for _ in STRIDES)
        self.heads = nn.ModuleList(_head() for _ in STRIDES)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Score logit, box and points (in strides), ``[b 2 15 h w]`` each, from pixels averaged by four."""
        fine = self.fine(pixels)
        middle = self.middle(fine)
        coarse = self.lateral[2](self.coarse(middle))
        middle = self.lateral[1](middle) + F.interpolate(coarse, scale_factor=2.0)
        fine = self.lateral[0](fine) + F.interpolate(middle, scale_factor=2.0)
        levels = zip((fine, middle, coarse), self.smooth, self.heads, strict=True)
        return [head(smooth(level)).unflatten(1, (2, 15)) for level, smooth, head in levels]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        rows = [m[0].permute(2, 3, 0, 1).flatten(0, 2) for m in self.maps(F.avg_pool2d(pixels, 4))]
        scores = [row[:, :1].sigmoid() for row in rows]
        return (*scores, *(row[:, 1:5] for row in rows), *(row[:, 5:] for row in rows))


def sample(generator: torch.Generator, pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures on a 640 canvas as insightface pads them, averaged down by four.

    With boxes ``[b 3 4]`` and points ``[b 3 5 2]`` in pixels of 640 (NaN: no person).
    """
    people = int(torch.randint(1, 4, (1,), generator=generator))
    scene = sample_scenes(pictures, people, generator)
    drawn = draw(scene, generator) * 255
    share = float(torch.rand(1, generator=generator))
    side = 160 if share < 0.5 else int(160 * (0.3 + share * 0.7))
    grey = 0.0 if share < 0.8 else 128.0
    canvas = torch.full((pictures, 3, 160, 160), grey)
    slack = 160 - side
    left, top = (int(v) for v in torch.randint(0, slack + 1, (2,), generator=generator))
    if share < 0.75:
        left = top = 0
    canvas[:, :, top : top + side, left : left + side] = F.interpolate(drawn, size=side, mode="bilinear")
    scale, shift = 4 * side / 128, 4 * torch.tensor([left, top], dtype=torch.float32)
    boxes = torch.full((pictures, 3, 4), torch.nan)
    points = torch.full((pictures, 3, 5, 2), torch.nan)
    boxes[:, :people] = scene.boxes().reshape(pictures, people, 4) * scale + shift.repeat(2)
    points[:, :people] = scene.landmarks().reshape(pictures, people, 5, 2) * scale + shift
    return (canvas - 127.5) / 128, boxes, points


def loss(maps: list[Tensor], boxes: Tensor, points: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Focal score loss on all cells; L1 on boxes and points where a face is."""
    score_loss, place_loss, found = torch.zeros(()), torch.zeros(()), 0
    tall = boxes[..., 3] - boxes[..., 1]
    middle, reach = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    for stride, (low, high), level in zip(STRIDES, RANGES, maps, strict=True):
        height, width = level.shape[-2:]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells = torch.stack([columns, rows], -1).float() * stride  # insightface's anchor centres
        off = (cells[None, None] - middle[:, :, None, None]).abs() / reach[:, :, None, None]
        fits = (tall > low) & (tall < high)
        inside = (off.amax(-1) < 0.45) & fits[:, :, None, None]  # b faces h w
        hit, which = inside.float().max(1)
        logit = level[:, :, 0]
        target = hit[:, None].expand_as(logit)
        chance = logit.sigmoid()
        focal = (target - chance).abs() ** 2
        raw = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
        score_loss = score_loss + (raw * focal * (1 + 2 * target)).sum()
        batch, row, column = hit.nonzero(as_tuple=True)
        found += len(batch)
        face = which[batch, row, column]
        centre = cells[row, column]
        box, five = boxes[batch, face], points[batch, face]
        wanted = (
            torch.cat([centre - box[:, :2], box[:, 2:] - centre, (five - centre[:, None]).flatten(1)], 1)
            / stride
        )
        got = level[batch, :, 1:, row, column]
        error = (got - wanted[:, None]).abs() * stride / tall[batch, face][:, None, None]
        place_loss = place_loss + error.mean((1, 2)).sum()
    count = max(found, 1)
    return score_loss / count + 5 * place_loss / count, {"place": (place_loss / count).detach()}


def train(out: Path, steps: int, batch: int) -> None:
    """Train and write ``out/detector.pt``."""
    team = Team.join()
    torch.manual_seed(SEED)
    model, generator = Detector().train(), team.generator(SEED)
    course = Course(team=team, module=model, steps=steps, rate=3e-3, log=out / "detector.jsonl")
    for step in course.run():
        pixels, boxes, points = sample(generator, batch)
        step.loss, step.notes = loss(model.maps(pixels), boxes, points)
    if team.rank == 0:
        torch.save(model.state_dict(), out / "detector.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=6, help="per process")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.batch)
