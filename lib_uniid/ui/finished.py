"""The finished pictures of one generation of the page: written, checked and shown as they come."""

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
    """What the page shows at a moment: words, steps done and in all, and pictures with their captions.

    ``rough`` are previews. ``checked`` holds a verdict per person and picture, ``seed`` that of the first.
    Where something went ``wrong`` the first of the words says what.
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
    """Keeps the pictures of ``run`` in the folder ``out``. ``notes`` is what should be said in the end."""

    def __init__(self, run: Run[Shown], out: Path) -> None:
        self.run, self.notes = run, list[str]()
        self._saver = Saver(out)
        self._pictures: list[Path] = []
        self._shown: list[tuple[Path, str]] = []  # a picture keeps its place while more come
        self._checked: list[Verdict] = []
        self._legend: list[str] = []
        self._seed: int | None = None
        self._wanted = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def taker(
        self, settings: GenerationSettings, request: Request | None, identities: FoundIdentities | None
    ) -> OnPicture:
        """What is told of each picture of these settings; the page asks for no retries, so each is final."""
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
            # Not told, as a cancel would lose what is finished beside this one.
            self.run.latest = replace(self._with_pictures(self.run.latest), rough=())

        return take

    def tell(self, shown: Shown) -> None:
        """Show how far the run is, with what is finished; raises ``Cancelled`` when it was."""
        self.run.tell(self._with_pictures(shown))

    def end(self, *words: str, wrong: bool = False) -> Shown:
        """What is shown in the end, beside words on how it ended."""
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
        """A sentence on what is there of a series that ended early; none where there is nothing."""
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
