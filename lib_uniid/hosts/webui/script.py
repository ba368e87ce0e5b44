"""The handlers of the WebUI's hooks. This module imports nothing of the host and nothing heavy.

A host catches every exception of a hook and continues. So a failure is recorded, and the next call of the
UNet raises it: no picture is made without the requested identities.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lib_uniid.api.request import Request, from_arguments
from lib_uniid.errors import HostTooOldError, UniIDError
from lib_uniid.hosts.webui import axes, infotext
from lib_uniid.hosts.webui.api_request import empty_request_note
from lib_uniid.hosts.webui.injector import Injector
from lib_uniid.hosts.webui.jobs import CellNumber, Jobs, LiveText
from lib_uniid.hosts.webui.results import append, comment, draw_routing, explained, is_part_of_job, note
from lib_uniid.hosts.webui.services import HostServices
from lib_uniid.hosts.webui.states import GenerationState, GenerationStates
from lib_uniid.runtime import Runtime

if TYPE_CHECKING:
    from lib_uniid.hosts.webui.generation import Generation
else:  # imported on first use
    Generation = Any

Read = Callable[[Sequence[Any], bool], Request | None]
"""Makes a request of a script's arguments; the flag says whether they come from the API."""


class Extension:
    """The hooks, in the order in which a host calls them; txt2img and img2img share one object.

    ``runtime`` has the networks and the library, and is shared with the panel.
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
        self.injector = Injector(services, runtime.drop_networks)
        self._listening = False

    # --- the host's hooks ---

    def before_process(self, p: Any, *args: object) -> None:
        """Begin a generation, and clean up after a failed one, for which the host calls no later hook."""
        self.injector.detach()
        self.states.drop(p)
        state = GenerationState()
        with self.injector.recording_failure(state):
            state.request = axes.apply_axes(self._read(args, getattr(p, "is_api", False) is True), p)
            if state.request is None and args and isinstance(args[0], str):
                empty = empty_request_note(p, self._title)
                state.job.note([empty] if empty else [])
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
        with self.injector.recording_failure(state):
            self._require_host()
            state.generation = self._generation(state.request, p)
            infotext.write(p, state.generation.identities.request, state.generation.identities.known)
            note(p, state, state.generation.identities.notes)
        if state.failure is not None and self.services.too_old() is not None:
            self._refuse_at_once(p, state, state.failure)

    def process_before_every_sampling(self, p: Any, x: Any) -> None:
        """Inject all identities; ``x`` is the start latent, ``b channels rows columns``.

        Each pass needs a new injection: it has its own size and LoRAs, and a host may drop patches.
        """
        state = self._active_state(p)
        if state is not None:
            self.injector.require_called(p, state)
        self.injector.eject(p, state)
        if state is not None:
            with self.injector.recording_failure(state):
                self._listen()
            self.injector.attach(p, state, x, sampling=False)

    def on_cfg_denoiser(self, params: Any) -> None:
        """Before each evaluation of the model, also of other generations, which are left unchanged."""
        p = params.denoiser.p
        state = self._active_state(p)
        if state is not None:
            self.injector.require_called(p, state)
        if not self.injector.holds(p, state):  # another generation, a refiner, or other LoRAs
            self.injector.eject(p, state)
            if state is not None:
                self.injector.attach(p, state, params.x, sampling=True)
        if state is not None:
            self.injector.step(p, state, params)

    def post_sample(self, p: Any, ps: Any) -> None:
        """Check that the latents, or decoded pictures after a second pass, are finite and have identities.

        A replacement of the whole UNet never calls the hook that raises, so the samples are replaced here.
        """
        state = self._active_state(p)
        if state is None:
            return
        self.injector.require_called(p, state)
        if state.refused is None:
            self.injector.validate(p, state, lambda: _require_latents(ps.samples))
        if state.refused is not None:
            from lib_uniid.hosts.webui.attachment import Refused

            ps.samples = Refused(state.refused)

    def postprocess_batch(self, p: Any, images: Any) -> None:
        """Eject all identities; ``images`` are the decoded pictures, ``b 3 height width`` in [0, 1]."""
        pictures, active = len(images), self._active_state(p)
        if active is not None:
            self.injector.validate(p, active, lambda: _require_pictures(images))
        state = self.states.get(p)
        attached = self.injector.of(state)
        if state is not None and attached is not None:
            note(p, state, attached.notes())
            if state.generation is not None:
                note(p, state, state.generation.sampled(attached, pictures))
        self.injector.detach()

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
            note(p, state, draw_routing(p, state.generation, pp.image))
            if state.generation.request.check:
                comment(p, [state.job.add(state.place, state.generation.check(pp.image))])
        except Exception as error:
            note(p, state, [f"the picture could not be checked: {explained(error)}"])

    def postprocess(self, p: Any, processed: Any) -> None:
        """End a generation; check and notes go into the API's result, not into infotexts."""
        state = self.states.get(p)
        if state is not None:
            # A new dict: the old one may be shared with the next generation.
            processed.extra_generation_params = {**processed.extra_generation_params}
            state.job.publish(processed.extra_generation_params)
            if is_part_of_job(p, state):
                comments = processed.comments
                processed.comments = LiveText(lambda: state.job.comments(comments))
                state.job.publish(p.extra_generation_params)
            if state.generation is not None:
                append(processed, state.generation.overlays)
            state.job.end(p)
        self.injector.detach()
        self.states.drop(p)

    def unload(self) -> None:
        """The host unloads the script and keeps the model."""
        self.injector.detach()
        self.runtime.drop_networks()

    # --- internals ---

    def _on_end(self, state: GenerationState) -> None:
        """The processing object was deleted. After a failed generation no hook has ejected the identities."""
        if self.injector.of(state) is not None:
            self.injector.detach()

    def _active_state(self, p: Any) -> GenerationState | None:
        state = self.states.get(p)
        return state if state is not None and state.active else None

    def _listen(self) -> None:
        """Register callbacks at the first injection: a host may take 50 ms for one callback."""
        if not self._listening:
            self.services.listen(cfg_denoiser=self.on_cfg_denoiser, script_unloaded=self.unload)
            self._listening = True

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
            note(p, state, [f"Identities not applied: {failure}"])
            return

        def init(*_: Any, **__: Any) -> None:
            raise UniIDError(failure)

        p.init = init

    def _generation(self, request: Request, p: Any) -> Generation:
        from lib_uniid.hosts.webui.generation import Generation

        return Generation(request, self.runtime, p)


def _require_latents(samples: Any) -> None:
    from lib_uniid.hosts.finite import WEBUI, require_finite

    decoded = getattr(samples, "already_decoded", False)
    for one in samples:
        require_finite(one, "pixels of the decoded picture" if decoded else "latents", WEBUI)


def _require_pictures(images: Any) -> None:
    from lib_uniid.hosts.finite import WEBUI, require_pictures

    require_pictures(images, WEBUI)
