"""Figures of pictures that a model folder makes: of one person, of several, and of their own words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lib_uniid.config import SAME_PERSON, GenerationSettings, PersonSettings, Routing
from lib_uniid.evaluation.metrics import copy_paste, cosine, identity_confidence
from lib_uniid.hosts.diffusers.studio import open_studio
from miniature import trained_models
from miniature.captions import WHERE
from miniature.checkpoints import CHECKPOINTS, SDXL_SETTINGS
from miniature.evaluation.drawings import Drawings
from miniature.evaluation.guests import Guest, enrolled
from miniature.evaluation.measures import Alone, Together, correlation, turn_of
from miniature.evaluation.metrics import rank1
from miniature.evaluation.reader import Reader, shirt_below
from miniature.evaluation.words import Words, two_shirts, words_of
from miniature.scenes import PLACES, SHIRT_COLOURS
from miniature.world import LARGE, SIZE


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
        self.models = models = models or trained_models()
        self.family = FAMILIES[family]
        self.cache = TemporaryDirectory()  # deleted with the evaluation
        base = CHECKPOINTS[family](models)
        self.studio = open_studio(models, base=base, device="cpu", cache=Path(self.cache.name))
        self.reader = Reader(self.studio.finder.find, models / "uniid" / "meters.safetensors")
        self.pictures, self.progress = pictures, progress

    @cached_property
    def guests(self) -> list[Guest]:
        """People for testing, twice as many as pictures."""
        count = 2 * self.pictures
        return enrolled(self.studio, self.reader, count, lambda done: self.progress("enrolling", done, count))

    @cached_property
    def drawings(self) -> Drawings:
        """Figures of drawings of the guests."""
        return Drawings(self.guests, self.reader, self.studio.host, self.family.side)

    def words(self, index: int, *, contrary: bool) -> Words:
        """What prompt ``index`` asks for: a place; and the contrary of the reference's looks."""
        return words_of(index, self.guests[index].looks if contrary else None)

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
            faces = self.reader.find(picture)
            single += len(faces) == 1
            face = max(faces, key=lambda one: one.area, default=None)
            if face is not None and face.embedding is not None:
                made[index], turns[index] = face.embedding, turn_of(face)
            kept.append(self.words(index, contrary=contrary).kept(self.reader.read(picture)))
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

    def without_people(self, pictures: int | None = None, **changes: Any) -> list[dict[str, bool]]:
        """Which contrary words the base model itself keeps, with the prompts and seeds of :meth:`alone`.

        ``changes`` as of :meth:`make`.
        """
        kept: list[dict[str, bool]] = []
        for index in range(pictures or self.pictures):
            self.progress("without people", index, self.pictures)
            read = self.reader.read(self.make(index, 0, contrary=True, **changes))
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
            counted += len(self.reader.find(picture)) == people
            found = self.reader.embeddings(picture, people)
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
            place, colours = two_shirts(index)
            said = [f"in a {SHIRT_COLOURS[colour]} shirt" for colour in colours]
            if people:
                picture = self.make(index, 2, words=said, place=place, **changes)
            else:
                picture = self.make(
                    index, 0, prompt=f"two people {' and '.join(said)} {WHERE[PLACES[place]][0]}"
                )
            faces = sorted(self.reader.find(picture), key=lambda face: -face.area)[:2]
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


def _column(number: int, people: int, side: int = 16) -> np.ndarray:
    """The mask of an equal upright part of the picture."""
    mask = np.zeros((side, side), np.float32)
    mask[:, round(number * side / people) : round((number + 1) * side / people)] = 1.0
    return mask
