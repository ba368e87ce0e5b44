"""The finished pictures of one generation of the page: saved, checked and shown one by one."""

from dataclasses import dataclass, replace
from pathlib import Path

from lib_uniid.api import infotext
from lib_uniid.api.identities import FoundIdentities
from lib_uniid.api.request import Request
from lib_uniid.config import GenerationSettings
from lib_uniid.evaluation.overlay import legend
from lib_uniid.host import Picture
from lib_uniid.hosts.diffusers.saving import Saver
from lib_uniid.pipeline import GeneratedPicture, OnPicture
from lib_uniid.ui.likeness import Verdict, verdicts
from lib_uniid.ui.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The state that the page shows: words, steps done, total steps, and pictures with captions.

    ``rough`` are previews. ``checked`` has a verdict per person and picture. ``seed`` is the seed of the
    first picture. If ``wrong``, the first of the words is the error.
    """

    words: tuple[str, ...] = ()
    wrong: bool = False
    step: int = 0
    steps: int = 0
    rough: tuple[Picture, ...] = ()
    pictures: tuple[tuple[Path, str], ...] = ()
    checked: tuple[Verdict, ...] = ()
    seed: int | None = None
    finished: bool = False


class Finished:
    """Saves the pictures of ``run`` in the folder ``out``. ``notes`` are shown when the run ends."""

    def __init__(self, run: Run[Shown], out: Path) -> None:
        self.run, self.notes = run, list[str]()
        self._saver = Saver(out)
        self._pictures: list[Path] = []
        self._shown: list[tuple[Path, str]] = []  # a picture keeps its place as others are added
        self._checked: list[Verdict] = []
        self._legend: list[str] = []
        self._seed: int | None = None
        self._wanted = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def on_picture(
        self, settings: GenerationSettings, request: Request | None, identities: FoundIdentities | None
    ) -> OnPicture:
        """The callback for each picture of these settings; the page has no retries, so each is final."""
        self._wanted = len(self) + settings.pictures
        more = (
            {}
            if identities is None
            else {infotext.KEY: infotext.describe(identities.request, identities.known)}
        )

        def take(_number: int, made: GeneratedPicture, _final: bool) -> None:
            path = self._saver.save(made, settings, more)
            self._pictures.append(path)
            self._shown.append((path, f"seed {made.seed}"))
            self._seed = made.seed if self._seed is None else self._seed
            if request is not None and identities is not None and request.check:
                self._check(made)
            if request is not None and request.show_routing:
                self._draw(path, made, [one.name for one in settings.people])
            # Not reported: the report of a cancelled run raises, and the rest of the batch would be lost.
            self.run.latest = replace(self._with_pictures(self.run.latest), rough=())

        return take

    def report(self, shown: Shown) -> None:
        """Show the progress and the finished pictures; raises ``Cancelled`` if the run is cancelled."""
        self.run.report(self._with_pictures(shown))

    def end(self, *words: str, wrong: bool = False) -> Shown:
        """The final state; ``words`` say how the run ended."""
        return Shown(
            words=(*words, *self.notes, *self._saver.notes, *self._legend),
            wrong=wrong,
            pictures=tuple(self._shown),
            checked=tuple(self._checked),
            seed=self._seed,
            finished=True,
        )

    @property
    def kept(self) -> tuple[str, ...]:
        """A sentence on the finished pictures of a series that ended early; empty without any."""
        names = ", ".join(path.name for path in self._pictures)
        return (f"{len(self)} of {self._wanted} pictures are finished and kept: {names}",) if names else ()

    def _with_pictures(self, shown: Shown) -> Shown:
        return replace(shown, pictures=tuple(self._shown), seed=self._seed)

    def _check(self, made: GeneratedPicture) -> None:
        place = f"picture {len(self)}: " if self._wanted > 1 else ""
        self._checked += [replace(one, sentence=place + one.sentence) for one in verdicts(made.presence)]

    def _draw(self, path: Path, made: GeneratedPicture, names: list[str]) -> None:
        if overlay := self._saver.save_overlay(path, made):
            self._shown.append((overlay, f"routing map, seed {made.seed}"))
            self._legend = [legend(names)]
