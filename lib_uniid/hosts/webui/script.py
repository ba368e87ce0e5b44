"""What the WebUI's hooks do, without the WebUI: it imports nothing of the host and nothing heavy.

A host swallows whatever a hook raises and goes on as if nothing had happened. So a failure is kept, and the
sampling that follows is made to raise it: no user gets a picture without the people who were asked for.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

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
from lib_uniid.hosts.webui.entries import Entries, Entry
from lib_uniid.hosts.webui.jobs import Growing, Jobs, Place, selected
from lib_uniid.hosts.webui.named import nothing_asked
from lib_uniid.hosts.webui.request import Request, parse, parse_json

if TYPE_CHECKING:
    from lib_uniid.faces.seen import SeenFaces
    from lib_uniid.hosts.webui.attachment import Attachment
    from lib_uniid.hosts.webui.run import Run, Workshop
else:  # imported when they are needed, and not to say what they are
    Attachment = Run = SeenFaces = Workshop = Any


log = logging.getLogger("uniid")

_OF_THE_REQUEST = (ConfigError, NoFaceError, PictureError, SeveralFacesError)
"""Errors that say nothing about files: after them the networks stay loaded."""


NO_MAPS = "routing maps are not shown with the script that is selected below the settings"


@runtime_checkable
class HostServices(Protocol):
    """What is needed of a host beside what its hooks hand over."""

    def models_folder(self) -> Path:
        """Where the user's models are."""
        ...

    def device(self) -> str:
        """Where the face encoders work, as torch writes it."""
        ...

    def room(self) -> AbstractContextManager[None]:
        """Within it the host has made room there for the face encoders."""
        ...

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

    def free(self) -> None:
        """Have the host give back memory that nothing uses."""
        ...

    def listen(self, **callbacks: Callable[..., None]) -> None:
        """Have the host call these functions, each under the name that it has for the event."""
        ...


Read = Callable[[Sequence[Any], bool], Request | None]
"""Makes a request of a script's arguments, which an API was sent or the panel holds."""


def asked(raw: object = "", enabled: object = False, *, api: bool = False) -> Request | None:
    """The request in a script's arguments; None when it is switched off.

    Through the API the first argument is the request itself, a dict or its JSON, and says by itself whether
    it is on. The panel has it as text beside a switch.
    """
    if not isinstance(enabled, bool):
        raise ConfigError(f"the second argument, the switch, must be true or false, got {enabled!r}")
    if isinstance(raw, str) and not enabled and not (api and raw.strip()):
        return None
    request = parse_json(raw) if isinstance(raw, str) else parse(raw)
    return request if request.enabled else None


class Extension:
    """The hooks, in the order in which a host calls them; one object serves both tabs.

    ``_attached`` is what is on a UNet now, and for whom. It is on only while sampling: put on before every
    pass and taken off after it, so a generation that another script runs in between finds the plain model.
    ``seen`` gives the faces that the panel has found in pictures, once they are needed.
    """

    def __init__(
        self,
        services: HostServices,
        read: Read = lambda values, api: asked(*values, api=api),
        title: str = "UniID",
        seen: Callable[[], SeenFaces | None] = lambda: None,
    ) -> None:
        self.services, self._read, self._title, self._seen = services, read, title, seen
        self.entries, self.jobs = Entries(self._ended), Jobs()
        self._workshop: Workshop | None = None
        self._attached: tuple[Entry, Attachment] | None = None
        self._listening = False

    # --- the host's hooks ---

    def before_process(self, p: Any, *args: object) -> None:
        """Begin; also the place to clean up after a generation that raised, for which no later hook ran."""
        self._detach()
        self.entries.drop(p)
        entry = Entry()
        with self._kept(entry):
            entry.request = axes.laid_over(self._read(args, getattr(p, "is_api", False) is True), p)
            if entry.request is None and args and isinstance(args[0], str):
                note = nothing_asked(p, self._title)
                entry.job.note([note] if note else [])
        if entry.engaged:
            entry.job, entry.inner = self.jobs.begin(p)
            entry.place = Place.of(self.services.job())
        if entry.engaged or entry.job.notes:
            self.entries.put(p, entry)

    def process(self, p: Any) -> None:
        """Find all people. The infotext is written here, or what a copied ``p`` brought along removed."""
        infotext.remove(p)
        entry = self.entries.get(p)
        if entry is None or entry.request is None:
            return
        with self._kept(entry):
            self._require_host()
            entry.run = self._run(entry.request)
            infotext.write(p, entry.run.cast.request, entry.run.cast.known)
            _note(p, entry, entry.run.cast.notes)
        if entry.failure is not None and self.services.too_old() is not None:
            self._refuse_at_once(p, entry, entry.failure)

    def process_before_every_sampling(self, p: Any, x: Any) -> None:
        """Inject all people; ``x`` is the start latent, ``b 4 rows columns``.

        Always anew: a pass has its own size and LoRAs, and a host may have thrown our patches away.
        """
        entry = self._engaged(p)
        if entry is not None:
            self._settle(p, entry)
        self._lift(p, entry)
        if entry is not None:
            self._attach(p, entry, x, sampling=False)

    def on_cfg_denoiser(self, params: Any) -> None:
        """Before each evaluation of the model, whoever samples: only the pictures of ours are touched."""
        p = params.denoiser.p
        entry = self._engaged(p)
        if entry is not None:
            self._settle(p, entry)
        if not self._fits(p, entry):  # another generation goes on, a refiner came, or LoRAs were switched
            self._lift(p, entry)
            if entry is not None:
                self._attach(p, entry, params.x, sampling=True)
        if entry is not None and self._attached is not None:
            with self._kept(entry):
                self._attached[1].step(params)
        if entry is not None:
            self._refuse_after_failure(p, entry)

    def post_sample(self, p: Any, ps: Any) -> None:
        """Latents of a batch, or after a second pass its decoded pictures, go on only as numbers with people.

        What replaces the UNet as a whole never calls what would have raised.
        """
        entry = self._engaged(p)
        if entry is None:
            return
        self._settle(p, entry)
        if entry.refused is None:
            self._spoil(p, entry, lambda: _require_latents(ps.samples))
        if entry.refused is not None:
            from lib_uniid.hosts.webui.attachment import Refused

            ps.samples = Refused(entry.refused)

    def postprocess_batch(self, p: Any, images: Any) -> None:
        """Eject all people; ``images`` are the decoded pictures, ``b 3 height width`` in [0, 1]."""
        pictures, engaged = len(images), self._engaged(p)
        if engaged is not None:
            self._spoil(p, engaged, lambda: _require_pictures(images))
        if self._attached is not None and self._attached[0] is self.entries.get(p):
            entry, attached = self._attached
            _note(p, entry, attached.notes())
            if entry.run is not None:
                entry.run.sampled(attached, pictures)
        self._detach()

    def postprocess_batch_list(self, p: Any, pp: Any) -> None:
        """Where a picture is none, the host cannot go on; what a hook raises would be swallowed."""
        entry = self._engaged(p)
        if entry is not None and entry.refused is not None:
            from lib_uniid.hosts.webui.attachment import Refused

            pp.images = Refused(entry.refused)

    def postprocess_image(self, p: Any, pp: Any) -> None:
        """Look who is in the picture. It is made by now, so a failure here is said under it."""
        entry = self.entries.get(p)
        if entry is None or entry.run is None:
            return
        try:
            _note(p, entry, [NO_MAPS] if _maps_are_in_the_way(p, entry.run) else entry.run.draw(pp.image))
            if entry.run.request.check:
                _say(p, [entry.job.look(entry.place, entry.run.look(pp.image))])
        except Exception as error:
            _note(p, entry, [f"the picture could not be checked: {_explained(error)}"])

    def postprocess(self, p: Any, processed: Any) -> None:
        """End; the check and the notes go into the result that the API returns, not into infotexts."""
        entry = self.entries.get(p)
        if entry is not None:
            # A new dict: the old one may be shared with the next generation.
            processed.extra_generation_params = {**processed.extra_generation_params}
            entry.job.tell(processed.extra_generation_params)
            if _several(p, entry):
                said = processed.comments
                processed.comments = Growing(lambda: entry.job.comments(said))
                entry.job.tell(p.extra_generation_params)
            if entry.run is not None:
                _append(processed, entry.run.overlays)
            entry.job.end(p)
        self._detach()
        self.entries.drop(p)

    def unload(self) -> None:
        """The script is being unloaded, and the model stays."""
        self._detach()
        self._workshop = None

    # --- inside ---

    def _ended(self, entry: Entry) -> None:
        """The processing object is gone. Where its generation failed no later hook ejected them."""
        if self._attached is not None and self._attached[0] is entry:
            self._detach()

    def _engaged(self, p: Any) -> Entry | None:
        entry = self.entries.get(p)
        return entry if entry is not None and entry.engaged else None

    def _settle(self, p: Any, entry: Entry) -> None:
        """No picture, if the evaluations so far did not pass through what is on the UNet for ``entry``.

        Comes before that is replaced: what replaces it counts anew.
        """
        owner, attached = self._attached or (None, None)
        if owner is entry and attached is not None and entry.refused is None:
            self._spoil(p, entry, lambda: attached.require(seen=entry.called))

    def _lift(self, p: Any, entry: Entry | None) -> None:
        """Eject before something else is injected; what is to be said of it is kept."""
        if entry is not None and self._attached is not None and self._attached[0] is entry:
            _note(p, entry, self._attached[1].notes())
        self._detach()

    def _require_host(self) -> None:
        name = self.services.too_old()
        if name is not None:
            raise HostTooOldError(
                f"{name} does not call process_before_every_sampling, which adding identities needs; "
                "update to AUTOMATIC1111 1.10, or use Forge or Forge Neo"
            )

    def _refuse_at_once(self, p: Any, entry: Entry, failure: str) -> None:
        """Where no later hook is called, what the host does next with ``p`` raises."""
        if entry.refused is None:
            _note(p, entry, [f"Identities not applied: {failure}"])
            return

        def init(*_: Any, **__: Any) -> None:
            raise UniIDError(failure)

        p.init = init

    def _run(self, request: Request) -> Run:
        from lib_uniid.hosts.webui.run import Run, Workshop

        if self._workshop is None:
            self._workshop = Workshop(
                self.services.models_folder(), self.services.device(), self.services.room, self._seen()
            )
        return Run(request, self._workshop)

    def _fits(self, p: Any, entry: Entry | None) -> bool:
        """Whether what is on a UNet is for ``entry``, and still on the UNet that ``p`` samples from."""
        if entry is None or self._attached is None:
            return entry is None and self._attached is None
        owner, attached = self._attached
        return owner is entry and attached.holds(p)

    def _attach(self, p: Any, entry: Entry, x: Any, *, sampling: bool) -> None:
        """Inject people, or what refuses to sample without them."""
        from lib_uniid.hosts.webui.attachment import Pause, unet_of

        with self._kept(entry):
            self._listen()
            if entry.run is not None and entry.failure is None and entry.spoiled is None:
                latent_size, load = (int(x.shape[-2]), int(x.shape[-1])), self.services.load
                try:
                    attached = entry.run.attach(
                        p, latent_size, self.services.encode, load if sampling else None
                    )
                except CheckpointMismatchError:
                    if not sampling or not entry.sampled:
                        raise
                    _note(
                        p,
                        entry,
                        ["the refiner is of another family: identities end at its first step"],
                    )
                    attached = Pause(unet_of(p))
                self._attached = entry, attached
                entry.sampled = True
        self._refuse_after_failure(p, entry)

    def _listen(self) -> None:
        """From the first time that something is put on; a host may take 50 ms to register one callback."""
        if not self._listening:
            self.services.listen(cfg_denoiser=self.on_cfg_denoiser, script_unloaded=self.unload)
            self._listening = True

    def _refuse_after_failure(self, p: Any, entry: Entry) -> None:
        from lib_uniid.hosts.webui.attachment import Pause, Refusal, unet_of

        if (entry.failure is None and entry.spoiled is None) or self._attached is not None:
            return
        if entry.refused is None:
            infotext.remove(p)
            _note(p, entry, [f"Identities not applied: {entry.failure}"])
            self._attached = entry, Pause(unet_of(p))
        else:
            self._attached = entry, Refusal(unet_of(p), entry.refused)
            self._tell_refusal(p, entry, entry.refused)

    def _tell_refusal(self, p: Any, entry: Entry, failure: str) -> None:
        """A plot makes an empty cell of a generation that fails; why is told with the other cells."""
        if _several(p, entry):
            _note(p, entry, [failure if entry.place is None else f"{entry.place}: {failure}"])
            entry.job.tell(p.extra_generation_params)
        entry.job.end(p)

    def _spoil(self, p: Any, entry: Entry, require: Callable[[], None]) -> None:
        try:
            require()
        except UniIDError as error:
            entry.spoiled = str(error)
            self._detach()
            self._tell_refusal(p, entry, entry.spoiled)

    def _detach(self) -> None:
        attached, self._attached = self._attached, None
        if attached is not None:
            entry, on = attached
            entry.called |= on.called
            on.release()

    @contextmanager
    def _kept(self, entry: Entry) -> Generator[None]:
        """Keep what is raised until the sampling can raise it: no picture without the people."""
        try:
            yield
        except _OF_THE_REQUEST as error:
            self._fail(entry, _explained(error))
        except Exception as error:
            self._fail(entry, _explained(error))
            self._workshop = None  # files may be added or mended before the next try, and memory freed
            if not isinstance(error, UniIDError):
                self.services.free()

    def _fail(self, entry: Entry, failure: str) -> None:
        entry.failure = failure
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


def _several(p: Any, entry: Entry) -> bool:
    """Whether another script puts the pictures of several generations together."""
    return not entry.inner and (entry.place is not None or selected(p))


def _maps_are_in_the_way(p: Any, run: Run) -> bool:
    """A script that is selected takes every picture for one of its cells or tiles."""
    return run.request.show_routing and selected(p)


def _append(processed: Any, overlays: Sequence[Any]) -> None:
    """Further pictures at the end of the gallery, each with the infotext of the one that it is drawn on."""
    first = getattr(processed, "index_of_first_image", 0)  # after the grid
    for number, overlay in enumerate(overlays):
        texts = processed.infotexts[first + number :]
        processed.images.append(overlay)
        processed.infotexts.append(texts[0] if texts else "")


def _note(p: Any, entry: Entry, sentences: Iterable[str]) -> None:
    """Under the picture, and in the result."""
    kept = list(sentences)
    entry.job.note(kept)
    _say(p, kept)


def _say(p: Any, sentences: Iterable[str]) -> None:
    """Under the picture."""
    for sentence in sentences:
        p.comment(f"UniID: {sentence}")
