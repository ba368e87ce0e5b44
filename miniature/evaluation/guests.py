"""People for testing, whom no training saw."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lib_uniid.library.store import Identity
from lib_uniid.pipeline import Reference, Studio
from miniature.characters import Looks, sample_identities
from miniature.evaluation import SEED
from miniature.evaluation.measures import turn_of
from miniature.evaluation.reader import Reader
from miniature.world import as_pictures, portraits


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


def enrolled(studio: Studio, reader: Reader, count: int, progress: Callable[[int], None]) -> list[Guest]:
    """People, each drawn twice and enrolled from the first drawing; ``progress`` takes the number so far."""
    generator = torch.Generator().manual_seed(SEED)
    who = sample_identities(count, generator)
    first, scene = portraits(who, generator, plain_style=True)
    again, _ = portraits(who, torch.Generator().manual_seed(SEED + 1), plain_style=True)
    method, found = studio.method_for(None), list[Guest]()
    for index, (picture, other) in enumerate(zip(as_pictures(first), as_pictures(again), strict=True)):
        progress(index)
        reference = Reference(picture=picture, label=f"person {index}", largest=True)
        person, _ = studio.enrol(f"person {index}", [reference], method=method)
        face = max(reader.find(picture), key=lambda one: one.area)
        found.append(
            Guest(
                person=person,
                traits=who[index],
                looks=scene.looks[slice(index, index + 1)],
                other=reader.embeddings(other, 1)[0],
                turn=turn_of(face),
            )
        )
    return found
