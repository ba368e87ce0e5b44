"""Pictures for the page: the panel's values and the page's own, through the same request and studio."""

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib_uniid.config import GenerationSettings, drawn_seed
from lib_uniid.errors import ConfigError, NoFaceError, PictureError, SeveralFacesError, UniIDError
from lib_uniid.evaluation.overlay import draw_routing, legend
from lib_uniid.failures import explain
from lib_uniid.files import require_writable
from lib_uniid.hosts.diffusers import open_studio
from lib_uniid.hosts.protocol import Look, Picture
from lib_uniid.hosts.saving import save, write_png
from lib_uniid.hosts.webui import infotext
from lib_uniid.hosts.webui.people import Cast, gather
from lib_uniid.hosts.webui.request import Request
from lib_uniid.library.store import PeopleFolder
from lib_uniid.pipeline import Made, Studio
from lib_uniid.ui.asking import request_of
from lib_uniid.ui.form import Pictures
from lib_uniid.ui.likeness import Verdict, verdicts
from lib_uniid.ui.runs import Cancelled, Run

LOOK_EVERY = 5
"""Steps between two previews: each waits for the device once."""

_INPUTS = (ConfigError, PictureError, NoFaceError, SeveralFacesError)
"""What is wrong with an input says nothing against the networks, which are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the page asks for beside people. A size of 0 is the model's own, a seed of -1 a random one.

    Numbers are None where a field was emptied.
    """

    prompt: str
    negative_prompt: str
    width: int | float | None
    height: int | float | None
    steps: int | float | None
    cfg_scale: int | float | None
    seed: int | float | None
    pictures: int | float | None
    sampler: str
    preview: bool

    def settings(self, request: Request | None, cast: Cast | None) -> GenerationSettings:
        """Checked; ``ConfigError`` says what is wrong. gradio's numbers may be whole or not."""
        routing: Any = "auto" if request is None else request.routing
        return GenerationSettings(
            prompt=self.prompt or "",
            negative_prompt=self.negative_prompt or "",
            people=() if cast is None else cast.settings,
            width=self._whole("width") or None,
            height=self._whole("height") or None,
            steps=self._whole("steps"),
            cfg_scale=self._number("cfg_scale", "CFG scale"),
            seed=drawn_seed(self._whole("seed")),
            pictures=self._whole("pictures"),
            sampler=self.sampler,
            style=None if cast is None else cast.style,
            routing=routing,
            identity_scale=0.7 if request is None else request.identity_scale,
        )

    def _number(self, name: str, label: str = "") -> float:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{label or name} must be a number, got {value!r}; type one")
        return float(value)

    def _whole(self, name: str) -> int:
        value = self._number(name)
        if not value.is_integer():
            raise ConfigError(f"{name} must be a whole number, got {value:g}")
        return int(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the page shows at a moment: words, steps done and in all, and pictures with their captions.

    ``rough`` are previews. ``checked`` holds a verdict per person and picture, ``seed`` that of the first.
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


WAITING = Shown(words=("another page's picture is being made; this one is next",))
CANCELLED = Shown(words=("cancelled",), finished=True)


class Maker:
    """Makes one generation at a time, as :class:`lib_uniid.ui.runs.Runs` calls it. Keeps the networks."""

    def __init__(
        self, models: Path, out: Path, pictures: Pictures, *, base: Path | None, device: str | None
    ) -> None:
        self.models, self.out, self.uploads = models, out, pictures
        self.library = PeopleFolder(folder=models / "uniid" / "library")
        self._options: dict[str, Any] = {"base": base, "device": device}
        self._studio: Studio | None = None

    def studio(self) -> Studio:
        """The networks of the models folder, opened when they are first needed."""
        if self._studio is None:
            self._studio = open_studio(self.models, **self._options)
        return self._studio

    def make(self, run: Run[Shown], wish: Wish, panel: Sequence[Any]) -> Shown:
        """What the page shows in the end; raises ``Cancelled`` and nothing else."""
        try:
            return self._made(run, wish, panel)
        except Cancelled:
            raise
        except Exception as error:
            words, keep = explain(error, "making a picture on the page"), isinstance(error, _INPUTS)
        if not keep:
            self._forget()
        return Shown(words=(words,), wrong=True, finished=True)

    def _forget(self) -> None:
        """Open everything anew next time, and free the memory: files may have come, and memory gone."""
        import torch

        self._studio = None
        gc.collect()
        if torch.cuda.is_available():
            with suppress(RuntimeError):  # of a graphics card that failed for good
                torch.cuda.empty_cache()

    def _made(self, run: Run[Shown], wish: Wish, panel: Sequence[Any]) -> Shown:
        request = request_of(panel, self.uploads)
        if request is None or request.style is None:
            wish.settings(request and replace(request, routing="auto"), None)  # at once, before faces
        require_writable(self.out)  # before the sampling, not after
        if request is not None:
            run.tell(Shown(words=("reading the faces",)))
        cast, notes = self._cast(request)
        settings = wish.settings(request, cast)
        run.tell(Shown(words=("loading the models",)))
        watched = _Watched(run, look=wish.preview)
        people = {} if cast is None else cast.people
        made = self.studio().generate(settings, people, progress=watched.progress, preview=watched.preview)
        return self._finished(made, settings, request, cast, notes)

    def _cast(self, request: Request | None) -> tuple[Cast | None, tuple[str, ...]]:
        if request is None:
            return None, ()
        try:
            cast = gather(request, self.studio(), self.library)
        except UniIDError as error:
            if request.fallback == "plain":
                return None, (f"Identities not applied: {error}",)
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
        checked: list[Verdict] = []
        for number, one in enumerate(made, 1):
            path = save(one, settings, self.out, more)
            shown.append((path, f"seed {one.seed}"))
            if request is not None and cast is not None and request.check:
                place = f"picture {number}: " if len(made) > 1 else ""
                checked += [replace(one, sentence=place + one.sentence) for one in verdicts(one.presence)]
            if request is not None and request.show_routing and one.routing is not None:
                overlays.append((_drawn(path, one), f"routing map, seed {one.seed}"))
        if overlays:
            words.append(legend([one.name for one in settings.people]))
        return Shown(
            words=tuple(words),
            pictures=(*shown, *overlays),
            checked=tuple(checked),
            seed=made[0].seed,
            finished=True,
        )


class _Watched:
    """Tells a run how far the sampling is."""

    def __init__(self, run: Run[Shown], *, look: bool) -> None:
        self._run, self._look = run, look
        self._calls, self._rough = 0, ()
        self.preview: Callable[[Look], None] = self._preview

    def progress(self, step: int, steps: int) -> None:
        self._run.tell(Shown(words=("making the picture",), step=step, steps=steps, rough=self._rough))

    def _preview(self, look: Look) -> None:
        self._calls += 1
        if self._look and self._calls % LOOK_EVERY == 0:
            self._rough = tuple(look())


def _drawn(path: Path, made: Made) -> Path:
    assert made.routing is not None
    overlay = path.with_suffix(".routing.png")
    write_png(overlay, draw_routing(np.ascontiguousarray(made.picture), made.routing))
    return overlay
