"""What the WebUI's hooks do, without the WebUI: it imports nothing of the host and nothing heavy.

A host swallows whatever a hook raises and goes on as if nothing had happened. So a failure is kept, and the
sampling that follows is made to raise it: no user gets a picture without the people who were asked for.
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
from lib_uniid.hosts.webui.api_request import nothing_asked
from lib_uniid.hosts.webui.jobs import CellNumber, Growing, Jobs, selected
from lib_uniid.hosts.webui.states import GenerationState, GenerationStates
from lib_uniid.runtime import Runtime

if TYPE_CHECKING:
    from lib_uniid.hosts.webui.attachment import Attachment
    from lib_uniid.hosts.webui.generation import Generation
else:  # imported when they are needed, and not to say what they are
    Attachment = Generation = Any


log = logging.getLogger("uniid")

_OF_THE_REQUEST = (ConfigError, NoFaceError, PictureError, SeveralFacesError)
"""Errors that say nothing about files: after them the networks stay loaded."""


NO_MAPS = "routing maps are not shown with the script that is selected below the settings"


@runtime_checkable
class HostServices(Protocol):
    """What is needed of a host beside what its hooks hand over."""

    def load(self, patcher: Any) -> None:
        """Have a host with patchers load one in the middle of sampling."""
        ...

    def encode(self, p: Any, picture: Any) -> Any:
        """Latents of a picture, ``1 3 height width`` in [0, 1], by the autoencoder of ``p``."""
        ...

    def job(self) -> str:
        """What the host says that it is doing, such as ``3 out of 12`` for a cell of a plot."""
        ...

    def too_old(self) -> str | None:
        """Name and version of a host that never calls ``process_before_every_sampling``; None for others."""
        ...

    def listen(self, **callbacks: Callable[..., None]) -> None:
        """Have the host call these functions, each under the name that it has for the event."""
        ...


Read = Callable[[Sequence[Any], bool], Request | None]
"""Makes a request of a script's arguments, which an API was sent or the panel holds."""


class Extension:
    """The hooks, in the order in which a host calls them; one object serves both tabs.

    ``_attached`` is what is on a UNet now, and for whom. It is on only while sampling: put on before every
    pass and taken off after it, so a generation that another script runs in between finds the plain model.
    ``runtime`` has the networks and the people, which the panel shares.
    """

    def __init__(
        self,
        services: HostServices,
        runtime: Runtime,
        read: Read = lambda values, api: from_arguments(*values, api=api),
        title: str = "UniID",
    ) -> None:
        self.services, self.runtime, self._read, self._title = services, runtime, read, title
        self.states, self.jobs = GenerationStates(self._ended), Jobs()
        self._attached: tuple[GenerationState, Attachment] | None = None
        self._listening = False

    # --- the host's hooks ---

    def before_process(self, p: Any, *args: object) -> None:
        """Begin; also the place to clean up after a generation that raised, for which no later hook ran."""
        self._detach()
        self.states.drop(p)
        state = GenerationState()
        with self._kept(state):
            state.request = axes.laid_over(self._read(args, getattr(p, "is_api", False) is True), p)
            if state.request is None and args and isinstance(args[0], str):
                note = nothing_asked(p, self._title)
                state.job.note([note] if note else [])
        if state.engaged:
            state.job, state.inner = self.jobs.begin(p)
            state.place = CellNumber.of(self.services.job())
        if state.engaged or state.job.notes:
            self.states.put(p, state)

    def process(self, p: Any) -> None:
        """Find all people. The infotext is written here, or what a copied ``p`` brought along removed."""
        infotext.remove(p)
        state = self.states.get(p)
        if state is None or state.request is None:
            return
        with self._kept(state):
            self._require_host()
            state.generation = self._generation(state.request)
            infotext.write(p, state.generation.identities.request, state.generation.identities.known)
            _note(p, state, state.generation.identities.notes)
        if state.failure is not None and self.services.too_old() is not None:
            self._refuse_at_once(p, state, state.failure)

    def process_before_every_sampling(self, p: Any, x: Any) -> None:
        """Inject all people; ``x`` is the start latent, ``b 4 rows columns``.

        Always anew: a pass has its own size and LoRAs, and a host may have thrown our patches away.
        """
        state = self._engaged(p)
        if state is not None:
            self._settle(p, state)
        self._lift(p, state)
        if state is not None:
            self._attach(p, state, x, sampling=False)

    def on_cfg_denoiser(self, params: Any) -> None:
        """Before each evaluation of the model, whoever samples: only the pictures of ours are touched."""
        p = params.denoiser.p
        state = self._engaged(p)
        if state is not None:
            self._settle(p, state)
        if not self._fits(p, state):  # another generation goes on, a refiner came, or LoRAs were switched
            self._lift(p, state)
            if state is not None:
                self._attach(p, state, params.x, sampling=True)
        if state is not None and self._attached is not None:
            with self._kept(state):
                self._attached[1].step(params)
        if state is not None:
            self._refuse_after_failure(p, state)

    def post_sample(self, p: Any, ps: Any) -> None:
        """Latents of a batch, or after a second pass its decoded pictures, go on only as numbers with people.

        What replaces the UNet as a whole never calls what would have raised.
        """
        state = self._engaged(p)
        if state is None:
            return
        self._settle(p, state)
        if state.refused is None:
            self._spoil(p, state, lambda: _require_latents(ps.samples))
        if state.refused is not None:
            from lib_uniid.hosts.webui.attachment import Refused

            ps.samples = Refused(state.refused)

    def postprocess_batch(self, p: Any, images: Any) -> None:
        """Eject all people; ``images`` are the decoded pictures, ``b 3 height width`` in [0, 1]."""
        pictures, engaged = len(images), self._engaged(p)
        if engaged is not None:
            self._spoil(p, engaged, lambda: _require_pictures(images))
        if self._attached is not None and self._attached[0] is self.states.get(p):
            state, attached = self._attached
            _note(p, state, attached.notes())
            if state.generation is not None:
                state.generation.sampled(attached, pictures)
        self._detach()

    def postprocess_batch_list(self, p: Any, pp: Any) -> None:
        """Where a picture is none, the host cannot go on; what a hook raises would be swallowed."""
        state = self._engaged(p)
        if state is not None and state.refused is not None:
            from lib_uniid.hosts.webui.attachment import Refused

            pp.images = Refused(state.refused)

    def postprocess_image(self, p: Any, pp: Any) -> None:
        """Look who is in the picture. It is made by now, so a failure here is said under it."""
        state = self.states.get(p)
        if state is None or state.generation is None:
            return
        try:
            _note(
                p,
                state,
                [NO_MAPS] if _maps_are_in_the_way(p, state.generation) else state.generation.draw(pp.image),
            )
            if state.generation.request.check:
                _say(p, [state.job.look(state.place, state.generation.look(pp.image))])
        except Exception as error:
            _note(p, state, [f"the picture could not be checked: {_explained(error)}"])

    def postprocess(self, p: Any, processed: Any) -> None:
        """End; the check and the notes go into the result that the API returns, not into infotexts."""
        state = self.states.get(p)
        if state is not None:
            # A new dict: the old one may be shared with the next generation.
            processed.extra_generation_params = {**processed.extra_generation_params}
            state.job.tell(processed.extra_generation_params)
            if _several(p, state):
                said = processed.comments
                processed.comments = Growing(lambda: state.job.comments(said))
                state.job.tell(p.extra_generation_params)
            if state.generation is not None:
                _append(processed, state.generation.overlays)
            state.job.end(p)
        self._detach()
        self.states.drop(p)

    def unload(self) -> None:
        """The script is being unloaded, and the model stays."""
        self._detach()
        self.runtime.forget()

    # --- inside ---

    def _ended(self, state: GenerationState) -> None:
        """The processing object is gone. Where its generation failed no later hook ejected them."""
        if self._attached is not None and self._attached[0] is state:
            self._detach()

    def _engaged(self, p: Any) -> GenerationState | None:
        state = self.states.get(p)
        return state if state is not None and state.engaged else None

    def _settle(self, p: Any, state: GenerationState) -> None:
        """No picture, if the evaluations so far did not pass through what is on the UNet for ``state``.

        Comes before that is replaced: what replaces it counts anew.
        """
        owner, attached = self._attached or (None, None)
        if owner is state and attached is not None and state.refused is None:
            self._spoil(p, state, lambda: attached.require(seen=state.called))

    def _lift(self, p: Any, state: GenerationState | None) -> None:
        """Eject before something else is injected; what is to be said of it is kept."""
        if state is not None and self._attached is not None and self._attached[0] is state:
            _note(p, state, self._attached[1].notes())
        self._detach()

    def _require_host(self) -> None:
        name = self.services.too_old()
        if name is not None:
            raise HostTooOldError(
                f"{name} does not call process_before_every_sampling, which adding identities needs; "
                "update to AUTOMATIC1111 1.10, or use Forge or Forge Neo"
            )

    def _refuse_at_once(self, p: Any, state: GenerationState, failure: str) -> None:
        """Where no later hook is called, what the host does next with ``p`` raises."""
        if state.refused is None:
            _note(p, state, [f"Identities not applied: {failure}"])
            return

        def init(*_: Any, **__: Any) -> None:
            raise UniIDError(failure)

        p.init = init

    def _generation(self, request: Request) -> Generation:
        from lib_uniid.hosts.webui.generation import Generation

        return Generation(request, self.runtime)

    def _fits(self, p: Any, state: GenerationState | None) -> bool:
        """Whether what is on a UNet is for ``state``, and still on the UNet that ``p`` samples from."""
        if state is None or self._attached is None:
            return state is None and self._attached is None
        owner, attached = self._attached
        return owner is state and attached.holds(p)

    def _attach(self, p: Any, state: GenerationState, x: Any, *, sampling: bool) -> None:
        """Inject people, or what refuses to sample without them."""
        from lib_uniid.hosts.webui.attachment import Pause, unet_of

        with self._kept(state):
            self._listen()
            if state.generation is not None and state.failure is None and state.spoiled is None:
                latent_size, load = (int(x.shape[-2]), int(x.shape[-1])), self.services.load
                try:
                    attached = state.generation.attach(
                        p, latent_size, self.services.encode, load if sampling else None
                    )
                except CheckpointMismatchError:
                    if not sampling or not state.sampled:
                        raise
                    _note(
                        p,
                        state,
                        ["the refiner is of another family: identities end at its first step"],
                    )
                    attached = Pause(unet_of(p))
                self._attached = state, attached
                state.sampled = True
        self._refuse_after_failure(p, state)

    def _listen(self) -> None:
        """From the first time that something is put on; a host may take 50 ms to register one callback."""
        if not self._listening:
            self.services.listen(cfg_denoiser=self.on_cfg_denoiser, script_unloaded=self.unload)
            self._listening = True

    def _refuse_after_failure(self, p: Any, state: GenerationState) -> None:
        from lib_uniid.hosts.webui.attachment import Pause, Refusal, unet_of

        if (state.failure is None and state.spoiled is None) or self._attached is not None:
            return
        if state.refused is None:
            infotext.remove(p)
            _note(p, state, [f"Identities not applied: {state.failure}"])
            self._attached = state, Pause(unet_of(p))
        else:
            self._attached = state, Refusal(unet_of(p), state.refused)
            self._tell_refusal(p, state, state.refused)

    def _tell_refusal(self, p: Any, state: GenerationState, failure: str) -> None:
        """A plot makes an empty cell of a generation that fails; why is told with the other cells."""
        if _several(p, state):
            _note(p, state, [failure if state.place is None else f"{state.place}: {failure}"])
            state.job.tell(p.extra_generation_params)
        state.job.end(p)

    def _spoil(self, p: Any, state: GenerationState, require: Callable[[], None]) -> None:
        try:
            require()
        except UniIDError as error:
            state.spoiled = str(error)
            self._detach()
            self._tell_refusal(p, state, state.spoiled)

    def _detach(self) -> None:
        attached, self._attached = self._attached, None
        if attached is not None:
            state, on = attached
            state.called |= on.called
            on.release()

    @contextmanager
    def _kept(self, state: GenerationState) -> Generator[None]:
        """Keep what is raised until the sampling can raise it: no picture without the people."""
        try:
            yield
        except _OF_THE_REQUEST as error:
            self._fail(state, _explained(error))
        except Exception as error:
            self._fail(state, _explained(error))
            self.runtime.forget()  # files may be added or mended before the next try, and memory freed

    def _fail(self, state: GenerationState, failure: str) -> None:
        state.failure = failure
        self._detach()


def _explained(error: Exception) -> str:
    """One sentence; what was not foreseen stands in the host's console, too."""
    from lib_uniid.failures import explain, sentence

    if sentence(error) is None:
        log.exception("UniID failed", exc_info=error)
    return explain(error, "a picture in the WebUI")


def _require_latents(samples: Any) -> None:
    from lib_uniid.hosts.finite import WEBUI, require_finite

    decoded = getattr(samples, "already_decoded", False)
    for one in samples:
        require_finite(one, "pixels of the decoded picture" if decoded else "latents", WEBUI)


def _require_pictures(images: Any) -> None:
    from lib_uniid.hosts.finite import WEBUI, require_pictures

    require_pictures(images, WEBUI)


def _several(p: Any, state: GenerationState) -> bool:
    """Whether another script puts the pictures of several generations together."""
    return not state.inner and (state.place is not None or selected(p))


def _maps_are_in_the_way(p: Any, run: Generation) -> bool:
    """A script that is selected takes every picture for one of its cells or tiles."""
    return run.request.show_routing and selected(p)


def _append(processed: Any, overlays: Sequence[Any]) -> None:
    """Further pictures at the end of the gallery, each with the infotext of the one that it is drawn on."""
    first = getattr(processed, "index_of_first_image", 0)  # after the grid
    for number, overlay in enumerate(overlays):
        texts = processed.infotexts[first + number :]
        processed.images.append(overlay)
        processed.infotexts.append(texts[0] if texts else "")


def _note(p: Any, state: GenerationState, sentences: Iterable[str]) -> None:
    """Under the picture, and in the result."""
    kept = list(sentences)
    state.job.note(kept)
    _say(p, kept)


def _say(p: Any, sentences: Iterable[str]) -> None:
    """Under the picture."""
    for sentence in sentences:
        p.comment(f"UniID: {sentence}")
