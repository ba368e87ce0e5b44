"""Generations of the page: the panel's and the page's settings become a request for the studio."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_uniid.api.identities import FoundIdentities, find_identities
from lib_uniid.api.request import Request
from lib_uniid.config import GenerationSettings, drawn_seed
from lib_uniid.errors import ConfigError, NoFaceError, PictureError, SeveralFacesError, UniIDError
from lib_uniid.failures import explain
from lib_uniid.fields.rows import numbers_of
from lib_uniid.fields.shared import SharedSettings
from lib_uniid.files import require_writable
from lib_uniid.host import Look, Picture
from lib_uniid.hosts.diffusers.studio import studio_of
from lib_uniid.pipeline import GeneratedPicture, OnPicture, Studio
from lib_uniid.runtime import Runtime
from lib_uniid.ui.finished import Finished, Shown
from lib_uniid.ui.form import Pictures
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.runs import Cancelled, Run

PREVIEW_EVERY = 5
"""Steps between two previews. Each preview waits for the device once."""

_INPUT_ERRORS = (ConfigError, PictureError, NoFaceError, SeveralFacesError)
"""Errors of the input. The networks stay loaded after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """The page's settings without the panel. A size of 0 is the model's own, a seed of -1 is random.

    The number of an empty field is None.
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
        """The checked settings; raises ``ConfigError``. gradio gives whole numbers as int or float."""
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
            **numbers_of(request or SharedSettings(), SharedSettings),
        )

    def _number(self, name: str, label: str = "") -> float:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{label or name} must be a number, got {value!r}; type a number")
        return float(value)

    def _whole(self, name: str) -> int:
        value = self._number(name)
        if not value.is_integer():
            raise ConfigError(f"{name} must be a whole number, got {value:g}")
        return int(value)


WAITING = Shown(words=("waiting for the generation of another browser tab",))
CANCELLED = Shown(words=("cancelled",), finished=True)


class PageGenerator:
    """Runs one generation at a time for :class:`lib_uniid.ui.runs.Runs`, and keeps the host.

    ``base`` is the checkpoint; None takes the first one in the models folder.
    """

    def __init__(self, runtime: Runtime, out: Path, pictures: Pictures, *, base: Path | None = None) -> None:
        self.runtime, self.out, self.uploads = runtime, out, pictures
        self._base = base
        self._studio: Studio | None = None

    def studio(self) -> Studio:
        """The runtime's networks with the stand-alone host, opened on first use."""
        if self._studio is None:
            self._studio = studio_of(self.runtime, self._base)
        return self._studio

    def make(self, run: Run[Shown], page_settings: PageSettings, panel: Sequence[Any]) -> Shown:
        """Run a generation; returns the final state with the finished pictures.

        Raises only ``Cancelled``, and only without a finished picture.
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
            words, keep = _explained(error), isinstance(error, _INPUT_ERRORS)
        if not keep:
            self._forget()
        return finished.end(words, *finished.kept, wrong=True)

    def _forget(self) -> None:
        """Free the memory and reopen all files next time: files or memory may have caused the failure."""
        self._studio = None
        self.runtime.drop_networks()

    def _make(self, finished: Finished, page_settings: PageSettings, panel: Sequence[Any]) -> None:
        request = request_of(panel, self.uploads)
        plain = request and replace(request, routing="auto")  # any other routing needs identities
        if request is None or request.style is None:
            page_settings.settings(plain, None)  # reports wrong settings before faces are detected
        require_writable(self.out)  # reports a read-only folder before the sampling
        if request is not None:
            finished.report(Shown(words=("reading faces",)))
        identities = self._find_identities(request, finished)
        settings = page_settings.settings(plain if identities is None else request, identities)
        finished.report(Shown(words=("loading models",)))
        try:
            return self._generate(finished, settings, page_settings, request, identities)
        except Exception as error:
            fallback = identities is not None and request is not None and request.fallback == "plain"
            # A second try helps neither if no file can be written, nor if all pictures are made.
            final = isinstance(error, Cancelled | OSError) or len(finished) >= settings.pictures
            if final or not fallback:
                raise
            place = f" from picture {len(finished) + 1} on" if len(finished) else ""
            finished.notes.append(f"Identities not applied{place}: {_explained(error)}")
            keep = isinstance(error, _INPUT_ERRORS)
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
        reporter = _ProgressReporter(finished, previews=page_settings.preview)
        self.studio().generate(
            settings,
            {} if identities is None else identities.people,
            progress=reporter.progress,
            on_picture=reporter.without_preview(finished.on_picture(settings, request, identities)),
            preview=reporter.preview,
            on_note=finished.notes.append,
        )

    def _find_identities(self, request: Request | None, finished: Finished) -> FoundIdentities | None:
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
    """The settings for the rest of a series, without identities and style."""
    return replace(
        settings,
        seed=settings.seed + done,
        pictures=settings.pictures - done,
        people=(),
        style=None,
        routing="auto",
    )


def _explained(error: Exception) -> str:
    return explain(error, "generating a picture on the page")


class _ProgressReporter:
    """Reports the steps and the previews of the sampling to the page."""

    def __init__(self, finished: Finished, *, previews: bool) -> None:
        self._finished, self._previews = finished, previews
        self._calls, self._rough = 0, tuple[Picture, ...]()
        self.preview: Callable[[Look], None] = self._preview

    def progress(self, step: int, steps: int) -> None:
        words = ("generating",)
        self._finished.report(Shown(words=words, step=step, steps=steps, rough=self._rough))

    def without_preview(self, take: OnPicture) -> OnPicture:
        """``take``, after the previews are removed: the finished picture replaces them."""

        def end(number: int, made: GeneratedPicture, final: bool) -> None:
            self._rough = ()
            take(number, made, final)

        return end

    def _preview(self, look: Look) -> None:
        self._calls += 1
        if self._previews and self._calls % PREVIEW_EVERY == 0:
            self._rough = tuple(look())
