"""The check of a finished picture: which of the requested people are in it.

Faces in the picture are matched with people greedily, best cosine similarity first. A generation can double
or omit a person; the remedy is another seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lib_uniid.config import SAME_PERSON
from lib_uniid.evaluation.metrics import cosine, greedy_matching
from lib_uniid.faces.detection import Face
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """One requested person: the number of the matching face, and its similarity to the references.

    A person without a ``face`` is missing; ``similarity`` is then that of the most similar unmatched face, or
    None if there was none. ``doubles`` are the numbers of further faces of the same person. ``unchecked`` is
    the reason why a person could not be checked; such a person is not missing.
    """

    name: str
    face: int | None
    similarity: float | None
    doubles: tuple[int, ...] = ()
    unchecked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """All requested people, in the order of the request, and the numbers of the other faces."""

    people: tuple[Appearance, ...]
    unknown: tuple[int, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.people if one.face is None and one.unchecked is None)

    @property
    def doubled(self) -> tuple[str, ...]:
        return tuple(person.name for person in self.people if person.doubles)

    @property
    def unchecked(self) -> tuple[str, ...]:
        return tuple(person.name for person in self.people if person.unchecked is not None)

    @property
    def complete(self) -> bool:
        """Each person was found once; other faces are ignored."""
        return not self.missing and not self.doubled and not self.unchecked

    @property
    def improvable(self) -> bool:
        """Whether a retry may improve the picture: a person is missing or doubled."""
        return bool(self.missing or self.doubled)

    @property
    def sentence(self) -> str:
        """Which people were found, and their similarity to their references."""
        return "; ".join(map(_in_words, self.people))

    @property
    def rank(self) -> tuple[int, int, float]:
        """Larger is better: first no missing people, then no doubles, then similarity."""
        likeness = math.fsum(person.similarity or 0.0 for person in self.people)
        doubles = sum(len(person.doubles) for person in self.people)
        return -len(self.missing), -doubles, likeness


Check = Callable[
    [Sequence[Face], Sequence[tuple[str, Float[np.ndarray, " _"]]], Mapping[str, str]],
    Presence,
]
"""Takes faces, (name, ID embedding) of requested people, and reasons by name why some cannot be checked."""


def check(
    faces: Sequence[Face],
    people: Sequence[tuple[str, Float[np.ndarray, " _"]]],
    unchecked: Mapping[str, str] | None = None,
    same_person: float = SAME_PERSON,
) -> Presence:
    """Match the faces of a picture with (name, ID embedding) of the requested people.

    Faces without an embedding belong to unknown people. ``unchecked`` maps each person whose embedding
    cannot be compared to the reason.
    """
    reasons = unchecked or {}
    seen = [face for face in faces if face.embedding is not None]
    wanted = [(name, embedding) for name, embedding in people if name not in reasons]
    scores = _scores(seen, [embedding for _, embedding in wanted])
    theirs = {match.column: match.row for match in greedy_matching(scores, same_person)}
    left = [row for row in range(len(seen)) if row not in theirs.values()]
    doubles = {row: int(scores[row].argmax()) for row in left if scores[row].max(initial=-1) >= same_person}
    matched = {*theirs.values(), *doubles}
    found = {
        name: Appearance(
            name=name,
            face=seen[theirs[column]].number if column in theirs else None,
            similarity=_similarity(scores[:, column], theirs.get(column), left),
            doubles=tuple(seen[row].number for row, double in doubles.items() if double == column),
        )
        for column, (name, _) in enumerate(wanted)
    }
    known = {seen[row].number for row in matched}
    return Presence(
        people=tuple(found.get(name) or _not_checked(name, reasons[name]) for name, _ in people),
        unknown=tuple(face.number for face in faces if face.number not in known),
    )


def other_recogniser(made_by: str, used: str) -> str:
    """Why a person cannot be checked whose embedding is of another recogniser (fingerprints of both)."""
    return (
        f"enrolled with the face recogniser {made_by}, but {used} is used now; enrol this person again from "
        "pictures"
    )


def _scores(seen: Sequence[Face], wanted: Sequence[Float[np.ndarray, " d"]]) -> Float[np.ndarray, "n m"]:
    if not seen or not wanted:
        return np.zeros((len(seen), len(wanted)), dtype=np.float32)
    return cosine(np.stack([face.embedding for face in seen if face.embedding is not None]), np.stack(wanted))


def _not_checked(name: str, reason: str) -> Appearance:
    return Appearance(name=name, face=None, similarity=None, unchecked=reason)


def _in_words(person: Appearance) -> str:
    if person.unchecked is not None:
        return f"{person.name} not checked ({person.unchecked})"
    similarity = "" if person.similarity is None else f" (similarity {person.similarity:.2f})"
    return f"{person.name} {'not found' if person.face is None else 'found'}{similarity}"


def _similarity(scores: Float[np.ndarray, " faces"], own: int | None, left: Sequence[int]) -> float | None:
    if own is not None:
        return float(scores[own])
    return max((float(scores[row]) for row in left), default=None)
