"""What is told of all pictures of a job: a plot, a loop, the tiles of a picture, or one generation.

The hosts' own scripts make several generations of one processing object, or of shallow copies of it, and keep
what was told of the first alone. All those objects share one dict of comments; a job is known again by it.
"""

import json
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib_uniid.api.infotext import NOTES, RESULT

if TYPE_CHECKING:
    from lib_uniid.evaluation.presence import Appearance, Presence
else:  # this is imported at the host's start, and numpy's users are not
    Appearance = Presence = Any

_KEPT = 4
"""Jobs that are remembered; generations inside generations have jobs of their own."""


class Hidden(str):
    """A text for the API's answer. Hosts call what can be called for an infotext, and leave out a None."""

    __slots__ = ()

    def __call__(self, **_: object) -> None:
        return None


class Growing(str):
    """A text that is asked for when it is shown; a plot copies the first cell's before there are others."""

    _now: Callable[[], str]

    def __new__(cls, now: Callable[[], str]) -> "Growing":
        text = super().__new__(cls, now())
        text._now = now
        return text

    def __str__(self) -> str:
        return self._now()

    def split(self, *args: Any, **options: Any) -> list[str]:
        return self._now().split(*args, **options)

    def splitlines(self, *args: Any, **options: Any) -> list[str]:
        return self._now().splitlines(*args, **options)


@dataclass(frozen=True, slots=True)
class CellNumber:
    """Which of how many generations of a job this is, both from 1; cells count along the rows of a plot."""

    number: int
    total: int

    @classmethod
    def of(cls, job: str) -> "CellNumber | None":
        """From what the host says that it is doing, such as ``3 out of 12``; None for anything else."""
        found = re.fullmatch(r"(\d{1,6}) out of (\d{1,6})", job)
        return None if found is None else cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"picture {self.number} of {self.total}"


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """The checks and notes of all generations of a job so far."""

    notes: list[str] = field(default_factory=list[str])
    _pictures: list[tuple[CellNumber | None, Presence]] = field(default_factory=list[Any])
    _lines: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    _told: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _busy: Callable[[], Any] = field(default=lambda: None)

    def begin(self, p: Any) -> None:
        """A generation of ``p`` begins."""
        self._busy = weakref.ref(p)

    def end(self, p: Any) -> None:
        """It ended, or failed."""
        if self._busy() is p:
            self._busy = lambda: None

    def inside(self, p: Any) -> bool:
        """Whether ``p`` begins in the middle of another generation of the job, as a detailer's does."""
        busy = self._busy()
        return busy is not None and busy is not p  # hosts compare such objects field by field

    def look(self, place: CellNumber | None, presence: Presence) -> str:
        """Keep who is in the next picture; the line that stands below it."""
        self._pictures.append((place, presence))
        if place is None:
            number, label = len(self._pictures), f"picture {len(self._pictures)}"
        else:
            of_cell = sum(one == place for one, _ in self._pictures)
            number, label = place.number, f"{place}" + (f", number {of_cell}" if of_cell > 1 else "")
        line = f"{label}: {presence.sentence}"
        self._lines.append((number, line))
        return line

    def note(self, sentences: Iterable[str]) -> None:
        """Keep what else is to be said, each sentence once."""
        self.notes += [one for one in dict.fromkeys(sentences) if one not in self.notes]

    def tell(self, parameters: dict[str, Any]) -> None:
        """Put everything so far into the parameters of a result, and into those of earlier results."""
        self._told = [*(one for one in self._told if one is not parameters), parameters]
        texts = {key: Hidden(text) for key, text in self._texts().items()}
        for told in self._told:
            told.update(texts)

    def comments(self, text: str) -> str:
        """The host's comments with the lines of all pictures, in the order of the pictures."""
        ours = [f"UniID: {line}" for _, line in sorted(self._lines, key=lambda one: one[0])]
        rest = [line for line in text.splitlines() if line and line not in ours]
        return "".join(f"{line}\n" for line in [*rest, *ours])

    def _texts(self) -> Mapping[str, str]:
        result = {RESULT: json.dumps(self._results())} if self._pictures else {}
        return result | ({NOTES: json.dumps(self.notes)} if self.notes else {})

    def _results(self) -> list[list[dict[str, Any]] | None]:
        """One list of people per picture; None for a cell of a plot that was not looked at."""
        loose = [_people(presence) for place, presence in self._pictures if place is None]
        cells: dict[int, list[list[dict[str, Any]]]] = {}
        for place, presence in self._pictures:
            if place is not None:
                cells.setdefault(place.number, []).append(_people(presence))
        total = max((place.total for place, _ in self._pictures if place is not None), default=0)
        results: list[list[dict[str, Any]] | None] = [*loose]
        for number in range(1, total + 1):
            results += cells.get(number, [None])
        return results


class Jobs:
    """The last few jobs, by the comments that their processing objects share."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Any, Job]] = []

    def begin(self, p: Any) -> tuple[Job, bool]:
        """The job of which ``p`` is a generation; and whether ``p`` is in the middle of another one."""
        shared = getattr(p, "comments", None)
        job = next((job for comments, job in self._jobs if comments is shared), None)
        if job is not None and job.inside(p):
            return Job(), True
        if job is None:
            job = Job()
            self._jobs = [*self._jobs[1 - _KEPT :], (shared, job)]
        job.begin(p)
        return job, False


def selected(p: Any) -> bool:
    """Whether a script that is selected below the settings runs: its number is the first argument of all."""
    arguments = getattr(p, "script_args", None) or [0]
    return type(arguments[0]) is int and arguments[0] > 0


def _people(presence: Presence) -> list[dict[str, Any]]:
    return [_told(one) for one in presence.people]


def _told(one: Appearance) -> dict[str, Any]:
    similarity = None if one.similarity is None else round(one.similarity, 4)
    told = {"name": one.name, "face": one.face, "similarity": similarity}
    return told if one.unchecked is None else {**told, "unchecked": one.unchecked}
