"""ID features of all people in the pictures, each from another picture than the one to be drawn."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lib_uniid.encoders.clip_vision import ClipVision
from lib_uniid.encoders.curricularface import CurricularFace
from lib_uniid.encoders.identity import IDEncoder
from miniature.recipes.data import Library
from miniature.recipes.faces import draw_aligned
from miniature.recipes.team import Team

SEED = 51


def new_encoder(out: Path) -> IDEncoder:
    """The trained backbone and image tower."""
    backbone = CurricularFace.from_state_dict(torch.load(out / "curricularface.pt", weights_only=True)).eval()
    config = {"num_attention_heads": 4, "hidden_act": "gelu"}
    return IDEncoder(
        backbone, ClipVision.from_state_dict(torch.load(out / "clip.pt", weights_only=True), config).eval()
    )


def crops_of(who: Tensor, generator: torch.Generator) -> np.ndarray:
    """One aligned 224-pixel crop of each person, as a reference picture would give it."""
    faces, _ = draw_aligned(who, generator, 80)
    faces = F.interpolate(faces, size=224, mode="bilinear", align_corners=False)
    return (faces * 255).round().byte().permute(0, 2, 3, 1).numpy()


@torch.no_grad()
def build(out: Path, chunk: int = 30) -> None:
    """Encode one reference per person of every picture into ``features-RANK.pt`` (see :class:`Features`)."""
    team = Team.join()
    encoder, generator = new_encoder(out), team.generator(SEED)
    library = Library.load(out / "pictures.pt")
    groups = {}
    for count, group in library.groups.items():
        who = group.scene.who.tensor_split(team.size * count)  # whole pictures stay together
        mine = torch.cat(who[team.rank * count : (team.rank + 1) * count])
        parts = [encoder.per_reference(crops_of(part, generator)) for part in mine.split(chunk)]
        intrinsic = torch.cat([intrinsic for intrinsic, _ in parts]).half()
        structure = torch.cat([structure for _, structure in parts if structure is not None]).half()
        groups[count] = {"intrinsic": intrinsic, "structure": structure}
    torch.save(groups, out / f"features-{team.rank}.pt")
    team.wait()


class Features:
    """All references, mapped from disk."""

    def __init__(self, out: Path) -> None:
        parts = sorted(out.glob("features-*.pt"))
        self._parts = [torch.load(path, weights_only=True, mmap=True) for path in parts]

    def of(self, count: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Intrinsic ``[b people t c]`` and structure ``[b people n d]`` of all people in some pictures."""
        found = [self._one(count, int(i)) for i in index]
        intrinsic, structure = zip(*found, strict=True)
        return torch.stack(intrinsic).float(), torch.stack(structure).float()

    def _one(self, count: int, picture: int) -> tuple[Tensor, Tensor]:
        first = picture * count
        for part in self._parts:
            group = part[count]
            if first < len(group["intrinsic"]):
                return group["intrinsic"][first : first + count], group["structure"][first : first + count]
            first -= len(group["intrinsic"])
        raise IndexError(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    build(parser.parse_args().out)
