"""The miniature measured end to end: people outside the training data, through the same code that users run.

The judge is insightface's recogniser of the pack, trained apart from the method's own backbone. References
are always other pictures of the person. Figures that are compared use the same people, prompts and seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from lib_uniid.config import SAME_PERSON, GenerationSettings, PersonSettings, Routing
from lib_uniid.evaluation.metrics import copy_paste, cosine, identity_confidence
from lib_uniid.faces.alignment import align
from lib_uniid.faces.detection import Face
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Identity
from lib_uniid.pipeline import Reference
from miniature import trained_models
from miniature.captions import WHERE
from miniature.characters import HAIR_COLOURS, Looks, sample_identities
from miniature.checkpoints import CHECKPOINTS, SDXL_SETTINGS
from miniature.measures import Alone, Together, correlation, turn_of
from miniature.metrics import rank1, verification_accuracy
from miniature.recipes.meter import FACE_SIZE, LOOKS, SCENE_SIZE, Meters
from miniature.scenes import PLACES, SHIRT_COLOURS, SHIRTS, STYLES
from miniature.words import FaceReading, Reading, Words
from miniature.world import LARGE, SIZE, draw, fitting_shirts, portraits, sample_scenes

SEED = 900_001


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one base family is measured: side of the drawn pictures, and settings of the generation."""

    side: int
    settings: Mapping[str, Any]


FAMILIES = {
    "sd15": Family(side=SIZE, settings={"steps": 15, "cfg_scale": 5.0, "identity_scale": 1.0}),
    "sdxl": Family(side=LARGE, settings={"steps": 15, "cfg_scale": 4.0, **SDXL_SETTINGS}),
}

Progress = Callable[[str, int, int], None]


def no_progress(what: str, done: int, total: int) -> None:
    """The default: progress is not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A person for testing: enrolled from one picture; who they are and how they looked in it.

    ``other`` is the embedding of another picture, ``turn`` how far the head is turned in the reference.
    """

    person: Identity
    traits: torch.Tensor
    looks: Looks
    other: np.ndarray
    turn: float


class Evaluation:
    """Everything that is measured of one model folder; each figure is made when it is asked for."""

    def __init__(
        self,
        models: Path | None = None,
        *,
        family: str = "sd15",
        pictures: int = 96,
        progress: Progress = no_progress,
    ) -> None:
        models = models or trained_models()
        self.family = FAMILIES[family]
        self.cache = TemporaryDirectory()  # deleted with the evaluation
        base = CHECKPOINTS[family](models)
        self.studio = open_studio(models, base=base, device="cpu", cache=Path(self.cache.name))
        self.meters = Meters()
        self.meters.load_state_dict(load_file(models / "uniid" / "meters.safetensors"))
        self.meters.float().eval()
        self.pictures, self.progress = pictures, progress

    @cached_property
    def guests(self) -> list[Guest]:
        """People for testing, twice as many as pictures, none of whom any training saw."""
        generator = torch.Generator().manual_seed(SEED)
        who = sample_identities(2 * self.pictures, generator)
        first, scene = portraits(who, generator, plain_style=True)
        again, _ = portraits(who, torch.Generator().manual_seed(SEED + 1), plain_style=True)
        method, found = self.studio.method_for(None), list[Guest]()
        for index, (picture, other) in enumerate(zip(_as_pictures(first), _as_pictures(again), strict=True)):
            self.progress("enrolling", index, len(who))
            reference = Reference(picture=picture, label=f"person {index}", largest=True)
            person, _ = self.studio.enrol(f"person {index}", [reference], method=method)
            face = max(self.studio.finder.find(picture), key=lambda one: one.area)
            found.append(
                Guest(
                    person=person,
                    traits=who[index],
                    looks=scene.looks[slice(index, index + 1)],
                    other=self.embeddings(other, 1)[0],
                    turn=turn_of(face),
                )
            )
        return found

    def verification(self) -> float:
        """Accuracy of the judge on same and different pairs of drawings, through detector and alignment."""
        gallery = np.stack([guest.person.embedding for guest in self.guests])
        scores = cosine(np.stack([guest.other for guest in self.guests]), gallery)
        different = scores[np.arange(len(scores)), np.roll(np.arange(len(scores)), 1)]
        same = np.repeat([True, False], len(scores))
        return verification_accuracy(np.concatenate([scores.diagonal(), different]), same)

    def real_pair(self) -> float:
        """Mean similarity of two drawn pictures of a person: likeness above it is copying."""
        references = np.stack([guest.person.embedding for guest in self.guests])
        return float(cosine(np.stack([guest.other for guest in self.guests]), references).diagonal().mean())

    def upper_bound(self, people: int) -> float:
        """Mean similarity of drawn people to their references, after encoding and decoding the drawing."""
        generator = torch.Generator().manual_seed(SEED + 2)
        count = self.pictures // people
        who = torch.stack([guest.traits for guest in self.guests[: count * people]])
        plain = torch.zeros(count, dtype=torch.long)
        scene = sample_scenes(count, people, generator, who=who, style=plain, size=self.family.side)
        drawn = _as_pictures(draw(scene, generator))
        scores: list[float] = []
        for index, picture in enumerate(drawn):
            found = self.embeddings(self._through_vae(picture), people)
            if len(found) == people:  # drawn left to right in this order
                mine = self.guests[index * people : (index + 1) * people]
                scores += [
                    cosine(f[None], g.person.embedding[None]).item() for f, g in zip(found, mine, strict=True)
                ]
        return float(np.mean(scores))

    def words(self, index: int, *, contrary: bool) -> Words:
        """What prompt ``index`` asks for: a place; and the contrary of the reference's looks."""
        rng = np.random.default_rng(SEED + index)
        place = int(rng.integers(len(PLACES)))
        if not contrary:
            return Words(place=place)
        looks = self.guests[index].looks
        style = 0 if index % 2 == 0 else int(rng.integers(1, len(STYLES)))
        others = [colour for colour in range(len(HAIR_COLOURS)) if colour != int(looks.hair[0])]
        every = torch.arange(len(SHIRT_COLOURS))
        fitting = fitting_shirts(every, torch.full_like(every, place)) == every
        shirts = [int(shirt) for shirt in every[fitting] if shirt != int(looks.shirt[0])]
        return Words(
            place=place,
            style=style,
            smile=-1 if float(looks.smile[0]) > 0 else 1,
            age=int(float(looks.age[0]) < 0.5),
            glasses=int(float(looks.glasses[0]) < 0.5),
            hair=int(rng.choice(others)) if style == 0 else None,
            shirt=int(rng.choice(shirts)) if style == 0 else None,
        )

    def make(
        self,
        index: int,
        people: int,
        *,
        routing: Routing = "auto",
        contrary: bool = False,
        structure_scale: float | None = None,
        masks: bool = False,
        words: Sequence[str] | None = None,
        place: int | None = None,
        **changes: Any,
    ) -> np.ndarray:
        """Picture ``index`` with this many guests (0: the same prompt and seed without people).

        ``words`` are the guests' own, ``place`` is another than that of the prompt, and ``changes`` are
        further settings of the generation.
        """
        named = self.guests[index * people : (index + 1) * people]
        asked = self.words(index, contrary=contrary) if place is None else Words(place=place)
        usual = dict(self.family.settings)
        usual["prompt"] = asked.prompt(max(people, 1))
        settings = GenerationSettings(
            people=tuple(
                PersonSettings(
                    name=guest.person.name,
                    structure_scale=structure_scale,
                    prompt="" if words is None else words[number],
                    mask=_column(number, people) if masks else None,
                )
                for number, guest in enumerate(named)
            ),
            seed=index,
            routing=routing,
            **usual | changes,
        )
        return self.studio.generate(settings, {guest.person.name: guest.person for guest in named})[0].picture

    def embeddings(self, picture: np.ndarray, count: int) -> np.ndarray:
        """ID embeddings of the largest faces, left to right; fewer rows where fewer faces are."""
        faces = sorted(self.studio.finder.find(picture), key=lambda face: -face.area)[:count]
        ordered = sorted(faces, key=lambda face: face.number)
        found = [face.embedding for face in ordered if face.embedding is not None]
        return np.stack(found) if found else np.zeros((0, 1), np.float32)

    @torch.no_grad()
    def read(self, picture: np.ndarray) -> Reading:
        """Let the meters look at a picture."""
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        place, style = self.meters.scenery(F.adaptive_avg_pool2d(pixels, SCENE_SIZE))
        found = max(self.studio.finder.find(picture), key=lambda face: face.area, default=None)
        face = shirt = None
        if found is not None:
            shirt = shirt_below(picture, found)
            crop = torch.from_numpy(align(picture, found.landmarks)).permute(2, 0, 1)[None].float() / 255
            numbers, hair = self.meters.looks(F.adaptive_avg_pool2d(crop, FACE_SIZE))
            values = dict(zip(LOOKS, numbers[0].tolist(), strict=True))
            face = FaceReading(hair=int(hair.argmax()), **values)
        return Reading(place=int(place.argmax()), style=int(style.argmax()), face=face, shirt=shirt)

    def meter_quality(self, *, through_vae: bool) -> dict[str, float]:
        """How far the meters can be trusted, on drawings of all looks and styles, found and aligned as usual.

        Share of right classes of place, style and hair, of shirts in photos; R2 of smile, age and glasses.
        """
        generator = torch.Generator().manual_seed(SEED + 3)
        who = torch.stack([guest.traits for guest in self.guests])
        drawn, scene = portraits(who, generator)
        pictures = _as_pictures(drawn)
        read = [self.read(self._through_vae(picture) if through_vae else picture) for picture in pictures]
        faces = [(index, one.face) for index, one in enumerate(read) if one.face is not None]
        looks = scene.looks[torch.tensor([index for index, _ in faces])]
        quality = {
            "place": float(
                np.mean([one.place == place for one, place in zip(read, scene.place, strict=True)])
            ),
            "style": float(
                np.mean([one.style == style for one, style in zip(read, scene.style, strict=True)])
            ),
            "hair": float(np.mean([f.hair == hair for (_, f), hair in zip(faces, looks.hair, strict=True)])),
        }
        photos = [
            one.shirt == shirt
            for one, shirt, style in zip(read, scene.looks.shirt, scene.style, strict=True)
            if one.face is not None and style == 0
        ]
        quality["shirt"] = float(np.mean(photos))
        for name in LOOKS:
            truth = getattr(looks, name).numpy()
            error = np.array([getattr(face, name) for _, face in faces]) - truth
            quality[name] = float(1 - np.square(error).mean() / truth.var())
        return quality

    def alone(self, *, contrary: bool, pictures: int | None = None, **changes: Any) -> Alone:
        """One person a picture: how like, how often nearest of all, and which words are kept.

        ``changes`` as of :meth:`make`.
        """
        count = pictures or self.pictures
        guests = self.guests[:count]
        gallery = np.stack([guest.person.embedding for guest in guests])
        made, kept = np.zeros_like(gallery), list[dict[str, bool]]()
        turns, single = [float("nan")] * count, 0
        for index in range(count):
            self.progress("one person", index, count)
            picture = self.make(index, 1, contrary=contrary, **changes)
            faces = self.studio.finder.find(picture)
            single += len(faces) == 1
            face = max(faces, key=lambda one: one.area, default=None)
            if face is not None and face.embedding is not None:
                made[index], turns[index] = face.embedding, turn_of(face)
            kept.append(self.words(index, contrary=contrary).kept(self.read(picture)))
        scores = np.where(made.any(axis=1, keepdims=True), cosine(made, gallery), -1.0)
        others = np.stack([guest.other for guest in guests])
        found = made.any(axis=1)
        return Alone(
            similarity=float(scores.diagonal().mean()),
            others=float(scores[~np.eye(count, dtype=bool)].mean()),
            other_picture=float(cosine(made, others).diagonal().mean()),
            copy_paste=float(copy_paste(made[found], gallery[found], others[found]).mean()),
            rank1=rank1(scores, np.arange(count)),
            one_face=single / count,
            pose_copied=correlation(
                np.array([guest.turn for guest in guests])[found], np.array(turns)[found]
            ),
            kept=kept,
        )

    def without_people(self, pictures: int | None = None) -> list[dict[str, bool]]:
        """Which contrary words the base model itself keeps, with the prompts and seeds of :meth:`alone`."""
        kept: list[dict[str, bool]] = []
        for index in range(pictures or self.pictures):
            self.progress("without people", index, self.pictures)
            read = self.read(self.make(index, 0, contrary=True))
            kept.append(self.words(index, contrary=True).kept(read))
        return kept

    def together(self, people: int, *, pictures: int | None = None, **changes: Any) -> Together:
        """Several people a picture: likeness of each to the reference, and whether all are the right ones.

        ``changes`` as of :meth:`make`.
        """
        count = pictures or (self.pictures if people == 2 else self.pictures // 2)
        right = placed = counted = 0
        own, other, confidence = list[float](), list[float](), list[float]()
        for index in range(count):
            self.progress(f"{people} people", index, count)
            picture = self.make(index, people, **changes)
            guests = self.guests[index * people : (index + 1) * people]
            gallery = np.stack([guest.person.embedding for guest in guests])
            counted += len(self.studio.finder.find(picture)) == people
            found = self.embeddings(picture, people)
            scores = cosine(found, gallery) if len(found) else np.zeros((1, people))
            confidence += identity_confidence(scores).tolist()
            if len(found) < people:
                continue
            order = max(permutations(range(people)), key=lambda o: sum(scores[r, c] for r, c in enumerate(o)))
            mine = [float(scores[row, column]) for row, column in enumerate(order)]
            own += mine
            other += [float(scores[r, c]) for r in range(people) for c in range(people) if c != order[r]]
            right += scores.argmax(1).tolist() == list(order) and min(mine) >= SAME_PERSON
            placed += int((scores.argmax(1) == np.arange(people)).sum())
        return Together(
            similarity=float(np.mean(own)) if own else 0.0,
            other=float(np.mean(other)) if other else 0.0,
            right=right / count,
            placed=placed / (count * people),
            count_right=counted / count,
            confidence=float(np.mean(confidence)),
            pictures=count,
        )

    def own_words(self, *, pictures: int | None = None, people: bool = True, **changes: Any) -> float:
        """Share of pictures of two in which both wear the shirt of their own words.

        Without ``people`` one prompt names both colours, and the left one should have the first. ``changes``
        as of :meth:`make`.
        """
        count, right = pictures or self.pictures, 0
        for index in range(count):
            self.progress("own words", index, count)
            place, colours = self._shirts(index)
            said = [f"in a {SHIRT_COLOURS[colour]} shirt" for colour in colours]
            if people:
                picture = self.make(index, 2, words=said, place=place, **changes)
            else:
                picture = self.make(
                    index, 0, prompt=f"two people {' and '.join(said)} {WHERE[PLACES[place]][0]}"
                )
            faces = sorted(self.studio.finder.find(picture), key=lambda face: -face.area)[:2]
            faces.sort(key=lambda face: face.box[0])
            if len(faces) < 2 or any(face.embedding is None for face in faces):
                continue
            guests = self.guests[index * 2 : index * 2 + 2]
            scores = cosine(
                np.stack([np.asarray(face.embedding) for face in faces]),
                np.stack([guest.person.embedding for guest in guests]),
            )
            crossed = people and scores[0, 1] + scores[1, 0] > scores[0, 0] + scores[1, 1]
            wanted = colours[::-1] if crossed else colours
            right += [shirt_below(picture, face) for face in faces] == wanted
        return right / count

    def _shirts(self, index: int) -> tuple[int, list[int]]:
        """A place, and two colours of shirts that can be told from it and from one another."""
        rng = np.random.default_rng(SEED + 2 * index)
        place = int(rng.integers(len(PLACES)))
        every = torch.arange(len(SHIRT_COLOURS))
        fitting = every[fitting_shirts(every, torch.full_like(every, place)) == every].tolist()
        return place, [int(colour) for colour in rng.choice(fitting, 2, replace=False)]

    @torch.no_grad()
    def _through_vae(self, picture: np.ndarray) -> np.ndarray:
        host: Any = self.studio.host
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        latents = host.vae.encode(pixels).latent_dist.mode() * host.vae.config.scaling_factor
        return host.decode(latents)[0]


def shirt_below(picture: np.ndarray, face: Face) -> int:
    """The colour of shirt (an index) that most pixels below the chin are nearest to; of photos."""
    left, top, right, bottom = face.box
    middle, half = (left + right) / 2, (bottom - top) / 2
    last = len(picture)
    first = int(np.clip(bottom + half, 0, last - 4))  # below the neck
    across = slice(max(0, round(middle - half)), round(middle + half))
    pixels = picture[first : round(bottom + 2 * half), across].reshape(-1, 3) / 255
    distance = np.square(pixels[:, None] - SHIRTS.numpy()).sum(-1)
    return int(np.bincount(distance.argmin(1), minlength=len(SHIRTS)).argmax())


def _column(number: int, people: int, side: int = 16) -> np.ndarray:
    """The mask of an equal upright part of the picture."""
    mask = np.zeros((side, side), np.float32)
    mask[:, round(number * side / people) : round((number + 1) * side / people)] = 1.0
    return mask


def _as_pictures(drawn: torch.Tensor) -> list[np.ndarray]:
    return list((drawn * 255).round().byte().permute(0, 2, 3, 1).numpy())
