"""The pictures that everything learns from: sampled and captioned by many processes, drawn by one device."""

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache
from io import BytesIO
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor

from lib_uniid.typing import Float, Int
from miniature.captions import caption
from miniature.characters import Looks
from miniature.heads import Placement
from miniature.recipes.data import cell_cover, scene_of, scene_state, token_ids
from miniature.recipes.kept import kept_result
from miniature.recipes.vae import new_vae
from miniature.scenes import SHIRT_COLOURS
from miniature.sdxl.networks import FAR, LATENT, LENGTH, SIDE, vocabulary
from miniature.world import Scene, draw, fitting_shirts, sample_scenes

SEED = 141
SHARES = {1: 0.40, 2: 0.33, 3: 0.27}
MOST = 3
CAPTIONS = 4
"""Captions of each picture; the last one is empty, for guidance."""
LATENT_SCALE = 0.388
"""What the kept autoencoder's latents of these pictures are multiplied by to have unit deviation."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """All pictures on one device. People are padded to three; those who are absent stand far away.

    ``texts`` holds places in the vocabulary of the text models, ``ends`` the place of a text's end token.
    """

    latents: Float[Tensor, "n 4 h w"]
    faces: Float[Tensor, "n 3 h w"]
    who: Float[Tensor, "n 3 f"]
    x: Float[Tensor, "n 3"]
    count: Int[Tensor, " n"]
    texts: Int[Tensor, "n c t"]
    ends: Int[Tensor, "n c"]

    def __len__(self) -> int:
        return len(self.latents)

    def of(self, people: int) -> Int[Tensor, " m"]:
        """The numbers of the pictures with so many people."""
        return (self.count == people).nonzero()[:, 0]


@dataclass(frozen=True, slots=True)
class _Share:
    scenes: list[Scene]
    texts: Tensor
    ends: Tensor

    def to_bytes(self) -> bytes:
        """In one piece: sent to another process as tensors, each would be an open file."""
        written = BytesIO()
        scenes = {scene.people: scene_state([scene]) for scene in self.scenes}
        torch.save({"scenes": scenes, "texts": self.texts, "ends": self.ends}, written)
        return written.getvalue()

    @staticmethod
    def from_bytes(written: bytes) -> "_Share":
        state = torch.load(BytesIO(written), weights_only=True)
        scenes = [replace(scene_of(people, one), size=SIDE) for people, one in state["scenes"].items()]
        return _Share(scenes, state["texts"], state["ends"])


@cache
def numbers(text: str) -> tuple[tuple[int, ...], int]:
    """Where a text's 77 tokens stand in the vocabulary, and the place of the end token among them."""
    places = {number: place for place, number in enumerate(vocabulary())}
    ids = [places[number] for number in token_ids(text)]
    return tuple(ids), ids.index(len(places) - 1)


def _imagine(
    number: int, scenes: int, seed: int, shares: Mapping[int, float], shirts: bool = False
) -> _Share:
    """One process's share: scenes of each number of people, and what is said of them."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed * 1009 + number)
    rng = random.Random(seed * 1013 + number)
    made = [
        sample_scenes(max(1, int(scenes * share)), people, generator, size=SIDE)
        for people, share in shares.items()
    ]
    if shirts:
        made = [alike_shirts(scene, generator) for scene in made]
    said = [
        [numbers(caption(scene, index, rng, shirts=shirts)) for _ in range(CAPTIONS - 1)] + [numbers("")]
        for scene in made
        for index in range(len(scene))
    ]
    texts = torch.tensor([[ids for ids, _ in one] for one in said], dtype=torch.int32)
    return _Share(made, texts, torch.tensor([[end for _, end in one] for one in said]))


def alike_shirts(scene: Scene, generator: torch.Generator) -> Scene:
    """Two thirds of the scenes with one shirt on all people, which is red in half of these."""
    count = len(scene)
    shirts = scene.looks.shirt.reshape(count, scene.people)
    chance = torch.rand(count, 1, generator=generator)
    shirts = torch.where(chance < 2 / 3, shirts[:, :1], shirts)
    shirts = torch.where(chance < 1 / 3, SHIRT_COLOURS.index("red"), shirts).flatten()
    fitting = fitting_shirts(shirts, scene.place.repeat_interleave(scene.people))
    return replace(scene, looks=replace(scene.looks, shirt=fitting))


def imagine(
    pictures: int,
    processes: int,
    seed: int = SEED,
    shares: Mapping[int, float] = SHARES,
    shirts: bool = False,
) -> list[_Share]:
    """Sample and caption all scenes; ``shares`` are of the pictures, by the number of people.

    With ``shirts`` the captions speak of them (:func:`alike_shirts`); one process only.
    """
    if processes == 1:
        return [_imagine(0, pictures, seed, shares, shirts)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        each = pictures // processes
        written = pool.map(
            _imagined, range(processes), *([one] * processes for one in (each, seed, dict(shares)))
        )
        return [_Share.from_bytes(one) for one in written]


def _imagined(number: int, scenes: int, seed: int, shares: Mapping[int, float]) -> bytes:
    return _imagine(number, scenes, seed, shares).to_bytes()


def kept_vae(device: torch.device) -> Any:
    """The autoencoder of Stable Diffusion 1.5's miniature, which this one shares."""
    vae, state = new_vae().eval(), kept_result("vae")
    assert state is not None
    vae.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return vae.requires_grad_(False).to(device)


@torch.no_grad()
def encode(vae: Any, pixels: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n 4 h w"]:
    """Latents of unit deviation of pictures in [0, 1]."""
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
        return vae.encode(pixels * 2 - 1).latent_dist.mean.float() * LATENT_SCALE


@torch.no_grad()
def render(shares: list[_Share], device: torch.device, seed: int = SEED, chunk: int = 128) -> Pictures:
    """Draw and encode all scenes on ``device``."""
    vae = kept_vae(device)
    generator = torch.Generator(device).manual_seed(seed)
    parts: list[tuple[Tensor, ...]] = []
    for scene in (scene for share in shares for scene in share.scenes):
        for some in _chunks(scene, chunk, device):
            with device:
                latents = encode(vae, draw(some, generator))
                faces = cell_cover(some.boxes(), SIDE, LATENT).unflatten(0, (len(some), some.people))
            parts.append(
                (
                    latents.half(),
                    _padded(faces, 0.0).half(),
                    _padded(some.who.unflatten(0, (-1, some.people)), 0.0),
                    _padded(some.at.x.unflatten(0, (-1, some.people)) / SIDE, FAR),
                    torch.full((len(some),), some.people, device=device),
                )
            )
    latents, faces, who, x, count = (torch.cat(column) for column in zip(*parts, strict=True))
    return Pictures(
        latents,
        faces,
        who,
        x,
        count,
        torch.cat([share.texts for share in shares]).to(device),
        torch.cat([share.ends for share in shares]).to(device),
    )


def for_second(texts: Int[Tensor, "b t"], ends: Int[Tensor, " b"]) -> Int[Tensor, "b t"]:
    """The second text model pads with 0 where the first one repeats the end token."""
    after = torch.arange(LENGTH, device=texts.device) > ends[:, None]
    return torch.where(after, 0, texts)


def _padded(part: Tensor, value: float) -> Tensor:
    missing = MOST - part.shape[1]
    return torch.cat([part, part.new_full((len(part), missing, *part.shape[2:]), value)], 1)


def _chunks(scene: Scene, chunk: int, device: torch.device) -> Iterator[Scene]:
    for first in range(0, len(scene), chunk):
        mine = slice(first, first + chunk)
        people = slice(first * scene.people, (first + chunk) * scene.people)
        looks = scene.looks[people]
        yield replace(
            scene,
            place=scene.place[mine].to(device),
            style=scene.style[mine].to(device),
            who=scene.who[people].to(device),
            looks=Looks(**{one.name: getattr(looks, one.name).to(device) for one in fields(Looks)}),
            at=Placement(*(getattr(scene.at, name)[people].to(device) for name in ("x", "y", "half_height"))),
        )
