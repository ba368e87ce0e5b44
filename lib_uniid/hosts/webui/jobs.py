"""The results of all pictures of a job: a plot, a loop, the tiles of a picture, or one generation.

The hosts' scripts run several generations with one processing object, or with shallow copies of it, and keep
only the results of the first. All these objects share one dict of comments, which identifies the job.
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
else:  # imported on first use: this module is imported when the host starts
    Appearance = Presence = Any

_KEPT = 4
"""Number of jobs that are kept; a generation inside another one has its own job."""


class ApiText(str):
    """A text for the API's answer only. For an infotext hosts call callable values, and leave out None."""

    __slots__ = ()

    def __call__(self, **_: object) -> None:
        return None


class LiveText(str):
    """A text that is computed when it is shown: a plot copies the first cell's before the others exist."""

    _now: Callable[[], str]

    def __new__(cls, now: Callable[[], str]) -> "LiveText":
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
    """The number of a generation in its job, from 1, and the total; cells count along the rows of a plot."""

    number: int
    total: int

    @classmethod
    def of(cls, job: str) -> "CellNumber | None":
        """From the host's text of its job, such as ``3 out of 12``; None for any other text."""
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
    _published: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _running: Callable[[], Any] = field(default=lambda: None)

    def begin(self, p: Any) -> None:
        """A generation of ``p`` begins."""
        self._running = weakref.ref(p)

    def end(self, p: Any) -> None:
        """The generation of ``p`` ended or failed."""
        if self._running() is p:
            self._running = lambda: None

    def nested(self, p: Any) -> bool:
        """Whether ``p`` begins inside another generation of the job, as a detailer's does."""
        running = self._running()
        return running is not None and running is not p  # == of such objects compares field by field

    def add(self, place: CellNumber | None, presence: Presence) -> str:
        """Add the check of the next picture; returns the line to show below the picture."""
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
        """Add notes, each sentence once."""
        self.notes += [one for one in dict.fromkeys(sentences) if one not in self.notes]

    def publish(self, parameters: dict[str, Any]) -> None:
        """Write all results so far into the parameters of a result, and into those of earlier results."""
        self._published = [*(one for one in self._published if one is not parameters), parameters]
        texts = {key: ApiText(text) for key, text in self._texts().items()}
        for one in self._published:
            one.update(texts)

    def comments(self, text: str) -> str:
        """The host's comments with the lines of all pictures, in the order of the pictures."""
        ours = [f"UniID: {line}" for _, line in sorted(self._lines, key=lambda one: one[0])]
        rest = [line for line in text.splitlines() if line and line not in ours]
        return "".join(f"{line}\n" for line in [*rest, *ours])

    def _texts(self) -> Mapping[str, str]:
        result = {RESULT: json.dumps(self._results())} if self._pictures else {}
        return result | ({NOTES: json.dumps(self.notes)} if self.notes else {})

    def _results(self) -> list[list[dict[str, Any]] | None]:
        """One list of people per picture; None for a cell of a plot that was not checked."""
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
    """The latest jobs, by the comments that their processing objects share."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Any, Job]] = []

    def begin(self, p: Any) -> tuple[Job, bool]:
        """The job of ``p``, and whether ``p`` begins inside another generation."""
        shared = getattr(p, "comments", None)
        job = next((job for comments, job in self._jobs if comments is shared), None)
        if job is not None and job.nested(p):
            return Job(), True
        if job is None:
            job = Job()
            self._jobs = [*self._jobs[1 - _KEPT :], (shared, job)]
        job.begin(p)
        return job, False


def selected(p: Any) -> bool:
    """Whether a script of the Script list runs: its number is the first of all arguments."""
    arguments = getattr(p, "script_args", None) or [0]
    return type(arguments[0]) is int and arguments[0] > 0


def _people(presence: Presence) -> list[dict[str, Any]]:
    return [_person(one) for one in presence.people]


def _person(one: Appearance) -> dict[str, Any]:
    similarity = None if one.similarity is None else round(one.similarity, 4)
    person = {"name": one.name, "face": one.face, "similarity": similarity}
    return person if one.unchecked is None else {**person, "unchecked": one.unchecked}
