"""Pictures for the page: the panel's values and the page's own, through the same request and studio."""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib_uniid.config import MAX_SEED, GenerationSettings
from lib_uniid.errors import UniIDError
from lib_uniid.evaluation.overlay import draw_routing, legend
from lib_uniid.hosts.diffusers import open_studio
from lib_uniid.hosts.saving import save, write_png
from lib_uniid.hosts.webui import infotext
from lib_uniid.hosts.webui.people import Cast, gather
from lib_uniid.hosts.webui.request import Request
from lib_uniid.library.store import PeopleFolder
from lib_uniid.pipeline import Made, Studio
from lib_uniid.ui.background import told
from lib_uniid.ui.form import Pictures, request_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the page asks for beside people. A size of 0 is the model's own, a seed of -1 a random one."""

    prompt: str
    negative_prompt: str
    width: float
    height: float
    steps: float
    cfg_scale: float
    seed: float
    pictures: float
    sampler: str

    def settings(self, request: Request | None, cast: Cast | None) -> GenerationSettings:
        """Checked; ``ConfigError`` says what is wrong. gradio's numbers may be whole or not."""
        routing: Any = "auto" if request is None else request.routing
        return GenerationSettings(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            people=() if cast is None else cast.settings,
            width=int(self.width) or None,
            height=int(self.height) or None,
            steps=int(self.steps),
            cfg_scale=float(self.cfg_scale),
            seed=secrets.randbelow(MAX_SEED + 1) if self.seed < 0 else int(self.seed),
            pictures=int(self.pictures),
            sampler=self.sampler,
            style=None if cast is None else cast.style,
            routing=routing,
            identity_scale=0.7 if request is None else request.identity_scale,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the page shows at a moment: words, steps done and in all, and pictures with their captions."""

    words: tuple[str, ...] = ()
    wrong: bool = False
    step: int = 0
    steps: int = 0
    pictures: tuple[tuple[Path, str], ...] = ()
    finished: bool = False
    complete: bool = True
    """Whether everybody who was asked for is in every picture, as far as that was looked for."""


class Cancelled(Exception):  # noqa: N818, nothing went wrong
    """Raised inside the sampling when somebody pressed Cancel."""


class Maker:
    """Makes one generation at a time; ``cancel`` may be called from another thread."""

    def __init__(
        self, models: Path, out: Path, pictures: Pictures, *, base: Path | None, device: str | None
    ) -> None:
        self.models, self.out, self.uploads = models, out, pictures
        self.library = PeopleFolder(folder=models / "uniid" / "library")
        self._options: dict[str, Any] = {"base": base, "device": device}
        self._busy, self._cancel = threading.Lock(), threading.Event()
        self._studio: Studio | None = None

    def cancel(self) -> None:
        """Stop at the next step; what was injected comes out."""
        self._cancel.set()

    def studio(self) -> Studio:
        """The networks of the models folder, opened when they are first needed."""
        if self._studio is None:
            self._studio = open_studio(self.models, **self._options)
        return self._studio

    def forget(self) -> None:
        """Look at the disk again: files may have come."""
        self._studio = None

    def make(self, wish: Wish, panel: Sequence[Any]) -> Iterator[Shown]:
        """Run one generation in a thread of its own, and tell how far it is."""
        if not self._busy.acquire(blocking=False):
            yield Shown(words=("a picture is being made; wait for it, or cancel it",), wrong=True)
            return
        try:
            self._cancel.clear()
            for (shown,) in told(lambda tell: tell(self._run(wish, panel, tell))):
                yield shown
        finally:
            self._busy.release()

    def _run(self, wish: Wish, panel: Sequence[Any], tell: Callable[[Shown], None]) -> Shown:
        def progress(step: int, steps: int) -> None:
            tell(Shown(words=("making the picture",), step=step, steps=steps))
            if self._cancel.is_set():
                raise Cancelled

        try:
            request = request_of(panel, self.uploads)
            if request is not None:
                tell(Shown(words=("finding everybody",)))
            cast, notes = self._cast(request)
            settings = wish.settings(request, cast)
            tell(Shown(words=("loading the models",)))
            made = self.studio().generate(settings, {} if cast is None else cast.people, progress=progress)
            return self._finished(made, settings, request, cast, notes)
        except Cancelled:
            return Shown(words=("cancelled",), finished=True)
        except UniIDError as error:
            self.forget()
            return Shown(words=(str(error),), wrong=True, finished=True)

    def _cast(self, request: Request | None) -> tuple[Cast | None, tuple[str, ...]]:
        if request is None:
            return None, ()
        try:
            cast = gather(request, self.studio(), self.library)
        except UniIDError as error:
            if request.fallback == "plain":
                return None, (f"nobody was put in: {error}",)
            raise
        return cast, cast.notes

    def _finished(
        self,
        made: Sequence[Made],
        settings: GenerationSettings,
        request: Request | None,
        cast: Cast | None,
        notes: tuple[str, ...],
    ) -> Shown:
        more = {} if cast is None else {infotext.KEY: infotext.describe(cast.request, cast.known)}
        shown: list[tuple[Path, str]] = []
        overlays: list[tuple[Path, str]] = []
        words: list[str] = [*notes]
        complete = True
        for number, one in enumerate(made, 1):
            path = save(one, settings, self.out, more)
            shown.append((path, f"seed {one.seed}"))
            if request is not None and cast is not None and request.check:
                words.append(f"picture {number}: {one.presence.sentence}")
                complete = complete and one.presence.complete
            if request is not None and request.show_routing and one.routing is not None:
                overlays.append((_drawn(path, one), f"who got which place, seed {one.seed}"))
        if overlays:
            words.append(legend([one.name for one in settings.people]))
        pictures = (*shown, *overlays)
        return Shown(words=tuple(words), pictures=pictures, finished=True, complete=complete and not notes)


def _drawn(path: Path, made: Made) -> Path:
    assert made.routing is not None
    overlay = path.with_suffix(".routing.png")
    write_png(overlay, draw_routing(np.ascontiguousarray(made.picture), made.routing))
    return overlay
