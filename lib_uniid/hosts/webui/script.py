"""The handlers of the WebUI's hooks. This module imports nothing of the host and nothing heavy.

A host catches every exception of a hook and continues. So a failure is recorded, and the next call of the
UNet raises it: no picture is made without the requested identities.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lib_uniid.api.request import Request, from_arguments
from lib_uniid.errors import (
    CheckpointMismatchError,
    ConfigError,
    HostTooOldError,
    NoFaceError,
    PictureError,
    SeveralFacesError,
    UniIDError,
)
from lib_uniid.hosts.webui import axes, infotext
from lib_uniid.hosts.webui.api_request import empty_request_note
from lib_uniid.hosts.webui.jobs import CellNumber, Jobs, LiveText, selected
from lib_uniid.hosts.webui.states import GenerationState, GenerationStates
from lib_uniid.runtime import Runtime

if TYPE_CHECKING:
    from lib_uniid.hosts.webui.attachment import Attachment
    from lib_uniid.hosts.webui.generation import Generation
else:  # imported on first use
    Attachment = Generation = Any


log = logging.getLogger("uniid")

_REQUEST_ERRORS = (ConfigError, NoFaceError, PictureError, SeveralFacesError)
"""Errors of the request, not of files: the networks stay loaded after them."""


NO_MAPS = "routing maps are not shown together with the script in the Script list"


@runtime_checkable
class HostServices(Protocol):
    """The host's functions that UniID uses beside the arguments of the hooks."""

    def load(self, patcher: Any) -> None:
        """Load a model patcher during sampling; only hosts with patchers need it."""
        ...

    def encode(self, p: Any, picture: Any) -> Any:
        """Latents of a picture, ``1 3 height width`` in [0, 1], by the VAE of ``p``."""
        ...

    def job(self) -> str:
        """The host's text of its current job, such as ``3 out of 12`` for a cell of a plot."""
        ...

    def too_old(self) -> str | None:
        """Name and version of a host that never calls ``process_before_every_sampling``; None for others."""
        ...

    def listen(self, **callbacks: Callable[..., None]) -> None:
        """Register callbacks with the host, each under the host's name of the event."""
        ...


Read = Callable[[Sequence[Any], bool], Request | None]
"""Makes a request of a script's arguments; the flag says whether they come from the API."""


class Extension:
    """The hooks, in the order in which a host calls them; txt2img and img2img share one object.

    ``_attached`` is the current attachment to a UNet and the generation that owns it. It exists only during
    sampling: identities are injected before every pass and ejected after it, so a generation that another
    script runs in between uses the plain model. ``runtime`` has the networks and the library, and is shared
    with the panel.
    """

    def __init__(
        self,
        services: HostServices,
        runtime: Runtime,
        read: Read = lambda values, api: from_arguments(*values, api=api),
        title: str = "UniID",
    ) -> None:
        self.services, self.runtime, self._read, self._title = services, runtime, read, title
        self.states, self.jobs = GenerationStates(self._on_end), Jobs()
        self._attached: tuple[GenerationState, Attachment] | None = None
        self._listening = False

    # --- the host's hooks ---

    def before_process(self, p: Any, *args: object) -> None:
        """Begin a generation, and clean up after a failed one, for which the host calls no later hook."""
        self._detach()
        self.states.drop(p)
        state = GenerationState()
        with self._recording_failure(state):
            state.request = axes.apply_axes(self._read(args, getattr(p, "is_api", False) is True), p)
            if state.request is None and args and isinstance(args[0], str):
                note = empty_request_note(p, self._title)
                state.job.note([note] if note else [])
        if state.active:
            state.job, state.nested = self.jobs.begin(p)
            state.place = CellNumber.of(self.services.job())
        if state.active or state.job.notes:
            self.states.put(p, state)

    def process(self, p: Any) -> None:
        """Find all identities and write the infotext; an entry that a copied ``p`` brought is removed."""
        infotext.remove(p)
        state = self.states.get(p)
        if state is None or state.request is None:
            return
        with self._recording_failure(state):
            self._require_host()
            state.generation = self._generation(state.request)
            infotext.write(p, state.generation.identities.request, state.generation.identities.known)
            _note(p, state, state.generation.identities.notes)
        if state.failure is not None and self.services.too_old() is not None:
            self._refuse_at_once(p, state, state.failure)

    def process_before_every_sampling(self, p: Any, x: Any) -> None:
        """Inject all identities; ``x`` is the start latent, ``b 4 rows columns``.

        Each pass needs a new injection: it has its own size and LoRAs, and a host may drop patches.
        """
        state = self._active_state(p)
        if state is not None:
            self._require_injected(p, state)
        self._eject(p, state)
        if state is not None:
            self._attach(p, state, x, sampling=False)

    def on_cfg_denoiser(self, params: Any) -> None:
        """Before each evaluation of the model, also of other generations, which are left unchanged."""
        p = params.denoiser.p
        state = self._active_state(p)
        if state is not None:
            self._require_injected(p, state)
        if not self._is_attached(p, state):  # another generation, a refiner, or other LoRAs
            self._eject(p, state)
            if state is not None:
                self._attach(p, state, params.x, sampling=True)
        if state is not None and self._attached is not None:
            with self._recording_failure(state):
                self._attached[1].step(params)
        if state is not None:
            self._refuse_after_failure(p, state)

    def post_sample(self, p: Any, ps: Any) -> None:
        """Check that the latents, or decoded pictures after a second pass, are finite and have identities.

        A replacement of the whole UNet never calls the hook that raises, so the samples are replaced here.
        """
        state = self._active_state(p)
        if state is None:
            return
        self._require_injected(p, state)
        if state.refused is None:
            self._validate(p, state, lambda: _require_latents(ps.samples))
        if state.refused is not None:
            from lib_uniid.hosts.webui.attachment import Refused

            ps.samples = Refused(state.refused)

    def postprocess_batch(self, p: Any, images: Any) -> None:
        """Eject all identities; ``images`` are the decoded pictures, ``b 3 height width`` in [0, 1]."""
        pictures, active = len(images), self._active_state(p)
        if active is not None:
            self._validate(p, active, lambda: _require_pictures(images))
        if self._attached is not None and self._attached[0] is self.states.get(p):
            state, attached = self._attached
            _note(p, state, attached.notes())
            if state.generation is not None:
                state.generation.sampled(attached, pictures)
        self._detach()

    def postprocess_batch_list(self, p: Any, pp: Any) -> None:
        """Stop the host after an invalid picture: it catches exceptions of hooks, so the list is replaced."""
        state = self._active_state(p)
        if state is not None and state.refused is not None:
            from lib_uniid.hosts.webui.attachment import Refused

            pp.images = Refused(state.refused)

    def postprocess_image(self, p: Any, pp: Any) -> None:
        """Check which people are in the picture. The picture is finished, so a failure here is a note."""
        state = self.states.get(p)
        if state is None or state.generation is None:
            return
        try:
            _note(
                p,
                state,
                [NO_MAPS] if _maps_are_suppressed(p, state.generation) else state.generation.draw(pp.image),
            )
            if state.generation.request.check:
                _comment(p, [state.job.add(state.place, state.generation.check(pp.image))])
        except Exception as error:
            _note(p, state, [f"the picture could not be checked: {_explained(error)}"])

    def postprocess(self, p: Any, processed: Any) -> None:
        """End a generation; check and notes go into the API's result, not into infotexts."""
        state = self.states.get(p)
        if state is not None:
            # A new dict: the old one may be shared with the next generation.
            processed.extra_generation_params = {**processed.extra_generation_params}
            state.job.publish(processed.extra_generation_params)
            if _is_part_of_job(p, state):
                comments = processed.comments
                processed.comments = LiveText(lambda: state.job.comments(comments))
                state.job.publish(p.extra_generation_params)
            if state.generation is not None:
                _append(processed, state.generation.overlays)
            state.job.end(p)
        self._detach()
        self.states.drop(p)

    def unload(self) -> None:
        """The host unloads the script and keeps the model."""
        self._detach()
        self.runtime.forget()

    # --- internals ---

    def _on_end(self, state: GenerationState) -> None:
        """The processing object was deleted. After a failed generation no hook has ejected the identities."""
        if self._attached is not None and self._attached[0] is state:
            self._detach()

    def _active_state(self, p: Any) -> GenerationState | None:
        state = self.states.get(p)
        return state if state is not None and state.active else None

    def _require_injected(self, p: Any, state: GenerationState) -> None:
        """Mark the picture as invalid if the UNet was computed without the hooks for ``state``.

        Call it before the attachment is replaced: a new attachment counts from zero.
        """
        owner, attached = self._attached or (None, None)
        if owner is state and attached is not None and state.refused is None:
            self._validate(p, state, lambda: attached.require(seen=state.called))

    def _eject(self, p: Any, state: GenerationState | None) -> None:
        """Eject the current attachment, and keep its notes if it belongs to ``state``."""
        if state is not None and self._attached is not None and self._attached[0] is state:
            _note(p, state, self._attached[1].notes())
        self._detach()

    def _require_host(self) -> None:
        name = self.services.too_old()
        if name is not None:
            raise HostTooOldError(
                f"{name} does not call process_before_every_sampling, which UniID needs; "
                "update to AUTOMATIC1111 1.10, or use Forge or Forge Neo"
            )

    def _refuse_at_once(self, p: Any, state: GenerationState, failure: str) -> None:
        """For a host without later hooks: make its next call of ``p`` raise."""
        if state.refused is None:
            _note(p, state, [f"Identities not applied: {failure}"])
            return

        def init(*_: Any, **__: Any) -> None:
            raise UniIDError(failure)

        p.init = init

    def _generation(self, request: Request) -> Generation:
        from lib_uniid.hosts.webui.generation import Generation

        return Generation(request, self.runtime)

    def _is_attached(self, p: Any, state: GenerationState | None) -> bool:
        """Whether the attachment belongs to ``state`` and is still on the UNet that ``p`` samples from."""
        if state is None or self._attached is None:
            return state is None and self._attached is None
        owner, attached = self._attached
        return owner is state and attached.holds(p)

    def _attach(self, p: Any, state: GenerationState, x: Any, *, sampling: bool) -> None:
        """Inject identities; after a failure attach a hook that raises."""
        from lib_uniid.hosts.webui.attachment import NoInjection, unet_of

        with self._recording_failure(state):
            self._listen()
            if state.generation is not None and state.failure is None and state.invalid is None:
                latent_size, load = (int(x.shape[-2]), int(x.shape[-1])), self.services.load
                try:
                    attached = state.generation.attach(
                        p, latent_size, self.services.encode, load if sampling else None
                    )
                except CheckpointMismatchError:
                    if not sampling or not state.injected:
                        raise
                    _note(
                        p,
                        state,
                        ["the refiner has another model type: identities end at its first step"],
                    )
                    attached = NoInjection(unet_of(p))
                self._attached = state, attached
                state.injected = True
        self._refuse_after_failure(p, state)

    def _listen(self) -> None:
        """Register callbacks at the first injection: a host may take 50 ms for one callback."""
        if not self._listening:
            self.services.listen(cfg_denoiser=self.on_cfg_denoiser, script_unloaded=self.unload)
            self._listening = True

    def _refuse_after_failure(self, p: Any, state: GenerationState) -> None:
        from lib_uniid.hosts.webui.attachment import NoInjection, Refusal, unet_of

        if (state.failure is None and state.invalid is None) or self._attached is not None:
            return
        if state.refused is None:
            infotext.remove(p)
            _note(p, state, [f"Identities not applied: {state.failure}"])
            self._attached = state, NoInjection(unet_of(p))
        else:
            self._attached = state, Refusal(unet_of(p), state.refused)
            self._publish_refusal(p, state, state.refused)

    def _publish_refusal(self, p: Any, state: GenerationState, failure: str) -> None:
        """A plot shows an empty cell for a failed generation; the other cells' results have the reason."""
        if _is_part_of_job(p, state):
            _note(p, state, [failure if state.place is None else f"{state.place}: {failure}"])
            state.job.publish(p.extra_generation_params)
        state.job.end(p)

    def _validate(self, p: Any, state: GenerationState, require: Callable[[], None]) -> None:
        """Run a check; if it raises, the result is invalid and the generation fails."""
        try:
            require()
        except UniIDError as error:
            state.invalid = str(error)
            self._detach()
            self._publish_refusal(p, state, state.invalid)

    def _detach(self) -> None:
        attached, self._attached = self._attached, None
        if attached is not None:
            state, attachment = attached
            state.called |= attachment.called
            attachment.release()

    @contextmanager
    def _recording_failure(self, state: GenerationState) -> Generator[None]:
        """Record an exception for the sampling to raise: no picture is made without the identities."""
        try:
            yield
        except _REQUEST_ERRORS as error:
            self._fail(state, _explained(error))
        except Exception as error:
            self._fail(state, _explained(error))
            self.runtime.forget()  # files or memory may be the cause, and change before the next try

    def _fail(self, state: GenerationState, failure: str) -> None:
        state.failure = failure
        self._detach()


def _explained(error: Exception) -> str:
    """One sentence; an unexpected exception is also logged to the host's console."""
    from lib_uniid.failures import explain, sentence

    if sentence(error) is None:
        log.exception("UniID failed", exc_info=error)
    return explain(error, "generating in the WebUI")


def _require_latents(samples: Any) -> None:
    from lib_uniid.hosts.finite import WEBUI, require_finite

    decoded = getattr(samples, "already_decoded", False)
    for one in samples:
        require_finite(one, "pixels of the decoded picture" if decoded else "latents", WEBUI)


def _require_pictures(images: Any) -> None:
    from lib_uniid.hosts.finite import WEBUI, require_pictures

    require_pictures(images, WEBUI)


def _is_part_of_job(p: Any, state: GenerationState) -> bool:
    """Whether another script combines the pictures of several generations."""
    return not state.nested and (state.place is not None or selected(p))


def _maps_are_suppressed(p: Any, run: Generation) -> bool:
    """Whether no routing maps are added: a selected script treats every picture as a cell or tile."""
    return run.request.show_routing and selected(p)


def _append(processed: Any, overlays: Sequence[Any]) -> None:
    """Append overlays to the gallery, each with the infotext of its picture."""
    first = getattr(processed, "index_of_first_image", 0)  # after the grid
    for number, overlay in enumerate(overlays):
        texts = processed.infotexts[first + number :]
        processed.images.append(overlay)
        processed.infotexts.append(texts[0] if texts else "")


def _note(p: Any, state: GenerationState, sentences: Iterable[str]) -> None:
    """Add sentences under the picture and to the result."""
    notes = list(sentences)
    state.job.note(notes)
    _comment(p, notes)


def _comment(p: Any, sentences: Iterable[str]) -> None:
    """Add sentences under the picture."""
    for sentence in sentences:
        p.comment(f"UniID: {sentence}")
