"""Pictures for the page: the panel's values and the page's own, through the same request and studio."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_uniid.api.identities import FoundIdentities, find_identities
from lib_uniid.api.request import Request
from lib_uniid.config import GenerationSettings, drawn_seed
from lib_uniid.errors import ConfigError, NoFaceError, PictureError, SeveralFacesError, UniIDError
from lib_uniid.failures import explain
from lib_uniid.files import require_writable
from lib_uniid.host import Look, Picture
from lib_uniid.hosts.diffusers.studio import studio_of
from lib_uniid.pipeline import GeneratedPicture, OnPicture, Studio
from lib_uniid.runtime import Runtime
from lib_uniid.ui.finished import Finished, Shown
from lib_uniid.ui.form import Pictures
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.runs import Cancelled, Run

LOOK_EVERY = 5
"""Steps between two previews: each waits for the device once."""

_INPUTS = (ConfigError, PictureError, NoFaceError, SeveralFacesError)
"""What is wrong with an input says nothing against the networks, which are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
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

    def settings(self, request: Request | None, identities: FoundIdentities | None) -> GenerationSettings:
        """Checked; ``ConfigError`` says what is wrong. gradio's numbers may be whole or not."""
        routing: Any = "auto" if request is None else request.routing
        return GenerationSettings(
            prompt=self.prompt or "",
            negative_prompt=self.negative_prompt or "",
            people=() if identities is None else identities.settings,
            width=self._whole("width") or None,
            height=self._whole("height") or None,
            steps=self._whole("steps"),
            cfg_scale=self._number("cfg_scale", "CFG scale"),
            seed=drawn_seed(self._whole("seed")),
            pictures=self._whole("pictures"),
            sampler=self.sampler,
            style=None if identities is None else identities.style,
            method=None if request is None else request.method,
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


WAITING = Shown(words=("another page's picture is being made; this one is next",))
CANCELLED = Shown(words=("cancelled",), finished=True)


class PageGenerator:
    """Makes one generation at a time, as :class:`lib_uniid.ui.runs.Runs` calls it. Keeps the host.

    ``base`` is the checkpoint to make pictures with, where the first below the models is not meant.
    """

    def __init__(self, runtime: Runtime, out: Path, pictures: Pictures, *, base: Path | None = None) -> None:
        self.runtime, self.out, self.uploads = runtime, out, pictures
        self._base = base
        self._studio: Studio | None = None

    def studio(self) -> Studio:
        """The runtime's networks with the stand-alone host, opened when they are first needed."""
        if self._studio is None:
            self._studio = studio_of(self.runtime, self._base)
        return self._studio

    def make(self, run: Run[Shown], page_settings: PageSettings, panel: Sequence[Any]) -> Shown:
        """What the page shows in the end, with the pictures that are finished.

        Raises nothing but ``Cancelled``, where none is finished.
        """
        finished = Finished(run, self.out)
        try:
            self._make(finished, page_settings, panel)
            return finished.end()
        except Cancelled:
            if not finished:
                raise
            return finished.end("; ".join([*CANCELLED.words, *finished.kept]))
        except Exception as error:
            words, keep = _explained(error), isinstance(error, _INPUTS)
        if not keep:
            self._forget()
        return finished.end(words, *finished.kept, wrong=True)

    def _forget(self) -> None:
        """Open everything anew next time, and free the memory: files may have come, and memory gone."""
        self._studio = None
        self.runtime.forget()

    def _make(self, finished: Finished, page_settings: PageSettings, panel: Sequence[Any]) -> None:
        request = request_of(panel, self.uploads)
        plain = request and replace(request, routing="auto")  # as others need people
        if request is None or request.style is None:
            page_settings.settings(plain, None)  # at once, before faces
        require_writable(self.out)  # before the sampling, not after
        if request is not None:
            finished.tell(Shown(words=("reading the faces",)))
        identities = self._cast(request, finished)
        settings = page_settings.settings(plain if identities is None else request, identities)
        finished.tell(Shown(words=("loading the models",)))
        try:
            return self._generate(finished, settings, page_settings, request, identities)
        except Exception as error:
            plainly = identities is not None and request is not None and request.fallback == "plain"
            # Where no file can be written, or all pictures are made, others would not help.
            hopeless = isinstance(error, Cancelled | OSError) or len(finished) >= settings.pictures
            if hopeless or not plainly:
                raise
            place = f" from picture {len(finished) + 1} on" if len(finished) else ""
            finished.notes.append(f"Identities not applied{place}: {_explained(error)}")
            keep = isinstance(error, _INPUTS)
        if not keep:
            self._forget()
        self._generate(finished, _rest(settings, len(finished)), page_settings, None, None)

    def _generate(
        self,
        finished: Finished,
        settings: GenerationSettings,
        page_settings: PageSettings,
        request: Request | None,
        identities: FoundIdentities | None,
    ) -> None:
        watched = _Watched(finished, look=page_settings.preview)
        self.studio().generate(
            settings,
            {} if identities is None else identities.people,
            progress=watched.progress,
            tell=watched.until(finished.taker(settings, request, identities)),
            preview=watched.preview,
        )

    def _cast(self, request: Request | None, finished: Finished) -> FoundIdentities | None:
        if request is None:
            return None
        try:
            identities = find_identities(request, self.studio(), self.runtime.library)
        except UniIDError as error:
            if request.fallback != "plain":
                raise
            finished.notes.append(f"Identities not applied: {error}")
            return None
        finished.notes += identities.notes
        return identities


def _rest(settings: GenerationSettings, done: int) -> GenerationSettings:
    """The pictures that are left of a series, without people and style."""
    return replace(
        settings,
        seed=settings.seed + done,
        pictures=settings.pictures - done,
        people=(),
        style=None,
        routing="auto",
    )


def _explained(error: Exception) -> str:
    return explain(error, "making a picture on the page")


class _Watched:
    """Tells how far the sampling is."""

    def __init__(self, finished: Finished, *, look: bool) -> None:
        self._finished, self._look = finished, look
        self._calls, self._rough = 0, tuple[Picture, ...]()
        self.preview: Callable[[Look], None] = self._preview

    def progress(self, step: int, steps: int) -> None:
        words = ("making the picture",)
        self._finished.tell(Shown(words=words, step=step, steps=steps, rough=self._rough))

    def until(self, take: OnPicture) -> OnPicture:
        """``take``, with which a picture's previews end."""

        def end(number: int, made: GeneratedPicture, final: bool) -> None:
            self._rough = ()
            take(number, made, final)

        return end

    def _preview(self, look: Look) -> None:
        self._calls += 1
        if self._look and self._calls % LOOK_EVERY == 0:
            self._rough = tuple(look())
