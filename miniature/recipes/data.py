"""The pictures that base model and adapters learn from: drawn and encoded once, captioned anew each time."""

import argparse
import random
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_uniid.hosts.diffusers.tokenizer import clip_tokenizer
from miniature import captions, characters, scenes
from miniature.characters import Looks
from miniature.heads import Placement
from miniature.recipes.team import Team
from miniature.recipes.vae import trained_vae
from miniature.world import Scene, draw, sample_scenes

SEED = 41
GRID = 16
SHARES = {1: 0.55, 2: 0.30, 3: 0.15}


def cell_cover(boxes: Tensor, size: int = 128, grid: int = GRID) -> Tensor:
    """How much of each latent cell a box covers, ``[n grid grid]`` in 0..1."""
    edges = torch.arange(grid + 1) * (size / grid)

    def overlap(low: Tensor, high: Tensor) -> Tensor:
        inside = torch.minimum(high[:, None], edges[None, 1:]) - torch.maximum(low[:, None], edges[None, :-1])
        return inside.clamp(min=0) / (size / grid)

    return overlap(boxes[:, 1], boxes[:, 3])[:, :, None] * overlap(boxes[:, 0], boxes[:, 2])[:, None, :]


@lru_cache(maxsize=100_000)
def token_ids(text: str) -> tuple[int, ...]:
    """CLIP's 77 token numbers of a text."""
    return tuple(clip_tokenizer()(text, padding="max_length", truncation=True).input_ids)


@dataclass(slots=True)
class Group:
    """All pictures with the same number of people."""

    scene: Scene
    encoded: Tensor  # [n 4 16 16], half precision, scaled to unit deviation
    persons: Tensor  # [n people 16 16], how much of each cell each face's box covers


@dataclass(slots=True)
class Library:
    """The pictures, by number of people; an index counts through all groups."""

    groups: dict[int, Group]
    scale: float

    def __len__(self) -> int:
        return sum(len(group.encoded) for group in self.groups.values())

    @staticmethod
    def load(path: Path) -> "Library":
        """Read what :func:`build` wrote."""
        state = torch.load(path, weights_only=True)
        groups = {
            count: Group(scene_of(count, part["scene"]), part["encoded"], part["persons"])
            for count, part in state["groups"].items()
        }
        return Library(groups, state["scale"])

    def locate(self, index: int) -> tuple[int, int]:
        """The group (number of people) and the place in it."""
        for count, group in self.groups.items():
            if index < len(group.encoded):
                return count, index
            index -= len(group.encoded)
        raise IndexError(index)

    def first(self, count: int) -> int:
        """The index of the first picture with so many people."""
        return sum(len(group.encoded) for people, group in self.groups.items() if people < count)

    def latents(self, index: Tensor) -> Tensor:
        """Clean latents ``[b 4 16 16]``."""
        return torch.stack([self.groups[c].encoded[i] for c, i in map(self.locate, index.tolist())]).float()

    def face_maps(self, index: Tensor) -> Tensor:
        """Where any face is, ``[b 16 16]``."""
        return torch.stack(
            [self.groups[c].persons[i].amax(0) for c, i in map(self.locate, index.tolist())]
        ).float()

    def caption(self, index: int, rng: random.Random) -> str:
        """One of the many ways to describe the picture."""
        count, place = self.locate(index)
        return captions.caption(self.groups[count].scene, place, rng)

    def tokens(self, index: Tensor, rng: random.Random, *, empty: float) -> Tensor:
        """Caption tokens ``[b 77]``; a share of them is left empty for guidance."""
        texts = ["" if rng.random() < empty else self.caption(i, rng) for i in index.tolist()]
        return torch.tensor([token_ids(text) for text in texts])


def known_tokens() -> list[int]:
    """Every token that captions use; the model's vocabulary has no other words."""
    words = ["", "a photo of a portrait of , and the an on at in with without wearing shirts shirt hair"]
    words += [text for texts in (*captions.SUBJECTS.values(), *captions.WHERE.values()) for text in texts]
    words += [*scenes.STYLES, *scenes.SHIRT_COLOURS, *characters.HAIR_COLOURS]
    words += ["smiling happy sad serious old elderly young glasses"]
    return sorted({token for text in words for token in token_ids(text)})


def scene_of(count: int, state: dict[str, Any]) -> Scene:
    """What :func:`scene_state` was made of."""
    return Scene(
        people=count,
        place=state["place"],
        style=state["style"],
        who=state["who"],
        looks=Looks(**state["looks"]),
        at=Placement(*state["at"]),
    )


def scene_state(parts: list[Scene]) -> dict[str, Any]:
    """Scenes with equally many people as plain tensors."""
    looks = Looks.join([p.looks for p in parts])
    return {
        "place": torch.cat([p.place for p in parts]),
        "style": torch.cat([p.style for p in parts]),
        "who": torch.cat([p.who for p in parts]),
        "looks": {f.name: getattr(looks, f.name) for f in fields(Looks)},
        "at": [torch.cat([getattr(p.at, name) for p in parts]) for name in ("x", "y", "half_height")],
    }


def encode(vae: Any, pixels: Tensor) -> Tensor:
    """The autoencoder's latents ``[n 4 16 16]``, unscaled, of pictures in [0, 1]."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return vae.encode(pixels * 2 - 1).latent_dist.mean.float()


def persons_of(scene: Scene) -> Tensor:
    """How much of each latent cell each person's face box covers, ``[n people 16 16]``."""
    return cell_cover(scene.boxes()).reshape(len(scene), scene.people, GRID, GRID)


@torch.no_grad()
def build(out: Path, pictures: int, chunk: int = 50) -> None:
    """Draw and encode ``pictures`` pictures; each process makes its share and writes its own part."""
    team = Team.join()
    vae = trained_vae(out)
    generator = team.generator(SEED)
    groups = {}
    for count, share in SHARES.items():
        drawn, encoded = [], []
        for _ in range(max(1, int(pictures * share / team.size / chunk))):
            scene = sample_scenes(chunk, count, generator)
            drawn.append(scene)
            encoded.append(encode(vae, draw(scene, generator)))
        groups[count] = {
            "scene": scene_state(drawn),
            "encoded": torch.cat(encoded),
            "persons": torch.cat([persons_of(scene) for scene in drawn]).half(),
        }
    torch.save(groups, out / f"pictures-{team.rank}.part")
    team.wait()
    if team.rank == 0:
        _merge(out, team.size)


def _merge(out: Path, parts: int) -> None:
    loaded = [torch.load(out / f"pictures-{rank}.part", weights_only=True) for rank in range(parts)]
    scale = 1.0 / torch.cat([group["encoded"].flatten() for group in loaded[0].values()]).std().item()
    groups = {}
    for count in SHARES:
        mine = [part[count] for part in loaded]
        scene = scene_state([scene_of(count, part["scene"]) for part in mine])
        groups[count] = {
            "scene": scene,
            "encoded": (torch.cat([part["encoded"] for part in mine]) * scale).half(),
            "persons": torch.cat([part["persons"] for part in mine]),
        }
    torch.save({"groups": groups, "scale": scale}, out / "pictures.pt")
    for rank in range(parts):
        (out / f"pictures-{rank}.part").unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--pictures", type=int, default=14000)
    arguments = parser.parse_args()
    build(arguments.out, arguments.pictures)
