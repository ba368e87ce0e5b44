"""The words of the evaluation's prompts, what is read off a picture, and which words it kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from miniature.captions import WHERE
from miniature.characters import HAIR_COLOURS, Looks
from miniature.evaluation import SEED
from miniature.scenes import PLACES, SHIRT_COLOURS, STYLES
from miniature.world import fitting_shirts


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceReading:
    """What a meter reads off the largest face: smile -1..1, age and glasses 0..1, hair as an index."""

    smile: float
    age: float
    glasses: float
    hair: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What meters read off a picture; ``face`` and ``shirt`` are None where no face was found."""

    place: int
    style: int
    face: FaceReading | None
    shirt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a prompt asks for; None where it does not ask."""

    place: int
    style: int = 0
    smile: int | None = None  # -1 or 1
    age: int | None = None  # 0 or 1
    glasses: int | None = None  # 0 or 1
    hair: int | None = None
    shirt: int | None = None

    def prompt(self, people: int) -> str:
        """The words in the order that captions have."""
        said = [{1: "a person", 2: "two people", 3: "three people"}[people]]
        if self.smile is not None:
            said.append("smiling" if self.smile > 0 else "sad")
        if self.age is not None:
            said.append(("young", "old")[self.age])
        if self.glasses is not None:
            said.append(("without glasses", "wearing glasses")[self.glasses])
        if self.hair is not None:
            said.append(f"with {HAIR_COLOURS[self.hair]} hair")
        if self.shirt is not None:
            said.append(f"in a {SHIRT_COLOURS[self.shirt]} shirt")
        text = " ".join([*said, WHERE[PLACES[self.place]][0]])
        return text if self.style == 0 else f"{text}, {STYLES[self.style]}"

    def kept(self, read: Reading) -> dict[str, bool]:
        """Which of the words the picture shows; without a face none of the words on faces."""
        face = read.face
        kept = {"place": read.place == self.place, "style": read.style == self.style}
        if self.smile is not None:
            kept["smile"] = face is not None and (face.smile > 0) == (self.smile > 0)
        if self.age is not None:
            kept["age"] = face is not None and (face.age > 0.5) == (self.age > 0.5)
        if self.glasses is not None:
            kept["glasses"] = face is not None and (face.glasses > 0.5) == (self.glasses > 0.5)
        if self.hair is not None:
            kept["hair"] = face is not None and face.hair == self.hair
        if self.shirt is not None:
            kept["shirt"] = read.shirt == self.shirt
        return kept


def kept_rate(kept: Sequence[dict[str, bool]], word: str | None = None) -> float:
    """Share of words that are in the pictures: all of them, or those of one kind."""
    hits = [hit for one in kept for name, hit in one.items() if word is None or name == word]
    return float(np.mean(hits)) if hits else 0.0


def words_of(index: int, contrary_to: Looks | None = None) -> Words:
    """What prompt ``index`` asks for: a place; and the contrary of the looks of one person."""
    rng = np.random.default_rng(SEED + index)
    place = int(rng.integers(len(PLACES)))
    if contrary_to is None:
        return Words(place=place)
    looks = contrary_to
    style = 0 if index % 2 == 0 else int(rng.integers(1, len(STYLES)))
    others = [colour for colour in range(len(HAIR_COLOURS)) if colour != int(looks.hair[0])]
    shirts = [shirt for shirt in _shirts_before(place) if shirt != int(looks.shirt[0])]
    return Words(
        place=place,
        style=style,
        smile=-1 if float(looks.smile[0]) > 0 else 1,
        age=int(float(looks.age[0]) < 0.5),
        glasses=int(float(looks.glasses[0]) < 0.5),
        hair=int(rng.choice(others)) if style == 0 else None,
        shirt=int(rng.choice(shirts)) if style == 0 else None,
    )


def two_shirts(index: int) -> tuple[int, list[int]]:
    """A place, and two colours of shirts that can be told from it and from one another."""
    rng = np.random.default_rng(SEED + 2 * index)
    place = int(rng.integers(len(PLACES)))
    return place, [int(colour) for colour in rng.choice(_shirts_before(place), 2, replace=False)]


def _shirts_before(place: int) -> list[int]:
    """The colours of shirts that can be told from a place."""
    every = torch.arange(len(SHIRT_COLOURS))
    return every[fitting_shirts(every, torch.full_like(every, place)) == every].tolist()
