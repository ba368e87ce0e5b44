"""The current attachment to a UNet: injection before each pass, ejection after it, and refusal on failure."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lib_uniid.errors import (
    CheckpointMismatchError,
    ConfigError,
    NoFaceError,
    PictureError,
    SeveralFacesError,
    UniIDError,
)
from lib_uniid.hosts.webui import infotext
from lib_uniid.hosts.webui.results import explained, note, publish_refusal
from lib_uniid.hosts.webui.services import HostServices
from lib_uniid.hosts.webui.states import GenerationState

if TYPE_CHECKING:
    from lib_uniid.hosts.webui.attachment import Attachment
else:  # imported on first use
    Attachment = Any

log = logging.getLogger("uniid")

REFINER = "the refiner has another model type: identities end at its first step"

_REQUEST_ERRORS = (ConfigError, NoFaceError, PictureError, SeveralFacesError)
"""Errors of the request, not of files: the networks stay loaded after them."""


class Injector:
    """Owns the current attachment, and has the generation that it belongs to.

    There is an attachment only during sampling: identities are injected before every pass and ejected after
    it, so a generation that another script runs in between uses the plain model. ``forget`` drops the loaded
    networks.
    """

    def __init__(self, services: HostServices, forget: Callable[[], None]) -> None:
        self._services, self._forget = services, forget
        self._attached: tuple[GenerationState, Attachment] | None = None

    def of(self, state: GenerationState | None) -> Attachment | None:
        """The attachment, if it belongs to ``state``."""
        owner, attached = self._attached or (None, None)
        return attached if state is not None and owner is state else None

    def holds(self, p: Any, state: GenerationState | None) -> bool:
        """Whether the attachment belongs to ``state`` and is still on the UNet that ``p`` samples from."""
        if state is None:
            return self._attached is None
        attached = self.of(state)
        return attached is not None and attached.holds(p)

    def attach(self, p: Any, state: GenerationState, x: Any, *, sampling: bool) -> None:
        """Inject identities for latents like ``x``; after a failure attach a hook that raises.

        ``sampling`` says that the sampler runs already, so that a host with patchers must load the model.
        """
        with self.recording_failure(state):
            if state.generation is not None and state.failure is None and state.invalid is None:
                self._attached = state, self._injection(p, state, x, sampling=sampling)
                state.injected = True
                note(p, state, state.generation.started())
        self.refuse_after_failure(p, state)

    def step(self, p: Any, state: GenerationState, params: Any) -> None:
        """Pass the parameters of ``on_cfg_denoiser`` to the attachment."""
        attached = self.of(state)
        if attached is not None:
            with self.recording_failure(state):
                attached.step(params)
        self.refuse_after_failure(p, state)

    def eject(self, p: Any, state: GenerationState | None) -> None:
        """Eject the current attachment, and keep its notes if it belongs to ``state``."""
        attached = self.of(state)
        if state is not None and attached is not None:
            note(p, state, attached.notes())
        self.detach()

    def detach(self) -> None:
        """Eject the current attachment, if there is one."""
        attached, self._attached = self._attached, None
        if attached is not None:
            state, attachment = attached
            state.called |= attachment.called
            attachment.release()

    def require_called(self, p: Any, state: GenerationState) -> None:
        """Mark the picture as invalid if the UNet was computed without the hooks for ``state``.

        Call it before the attachment is replaced: a new attachment counts from zero.
        """
        attached = self.of(state)
        if attached is not None and state.refused is None:
            self.validate(p, state, lambda: attached.require(seen=state.called))

    def validate(self, p: Any, state: GenerationState, require: Callable[[], None]) -> None:
        """Run a check; if it raises, the result is invalid and the generation fails."""
        try:
            require()
        except UniIDError as error:
            state.invalid = str(error)
            self.detach()
            publish_refusal(p, state, state.invalid)

    @contextmanager
    def recording_failure(self, state: GenerationState) -> Generator[None]:
        """Record an exception for the sampling to raise: no picture is made without the identities."""
        try:
            yield
        except _REQUEST_ERRORS as error:
            self._fail(state, explained(error))
        except Exception as error:
            self._fail(state, explained(error))
            self._forget()  # files or memory may be the cause, and change before the next try

    def refuse_after_failure(self, p: Any, state: GenerationState) -> None:
        """After a failure, and without an attachment, make the next call of the UNet raise, or fall back."""
        from lib_uniid.hosts.webui.attachment import NoInjection, Refusal, unet_of

        if (state.failure is None and state.invalid is None) or self._attached is not None:
            return
        if state.refused is None:
            infotext.remove(p)
            note(p, state, [f"Identities not applied: {state.failure}"])
            self._attached = state, NoInjection(unet_of(p))
        else:
            self._attached = state, Refusal(unet_of(p), state.refused)
            publish_refusal(p, state, state.refused)

    def _injection(self, p: Any, state: GenerationState, x: Any, *, sampling: bool) -> Attachment:
        from lib_uniid.hosts.webui.attachment import NoInjection, unet_of

        assert state.generation is not None, "only a generation with identities is attached"
        latent_size = int(x.shape[-2]), int(x.shape[-1])
        try:
            return state.generation.attach(p, latent_size, self._services, sampling=sampling)
        except CheckpointMismatchError:
            if not sampling or not state.injected:
                raise
            log.warning(REFINER)
            infotext.note(p, REFINER)
            note(p, state, [REFINER])
            return NoInjection(unet_of(p))

    def _fail(self, state: GenerationState, failure: str) -> None:
        state.failure = failure
        self.detach()
