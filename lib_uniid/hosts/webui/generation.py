"""One generation: its identities, its injection plans, and its results."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from lib_uniid.api.identities import FoundIdentities, find_identities
from lib_uniid.api.request import Request
from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.sites import Site, find_sites, shape_of
from lib_uniid.bases import Base, of_unet, titles
from lib_uniid.errors import CheckpointMismatchError, HostTooOldError
from lib_uniid.evaluation.overlay import draw_routing, legend
from lib_uniid.evaluation.presence import Presence
from lib_uniid.fields.rows import numbers_of
from lib_uniid.fields.shared import SharedSettings
from lib_uniid.hosts.webui.a1111 import A1111Injection
from lib_uniid.hosts.webui.attachment import Attachment, is_forge, unet_of
from lib_uniid.hosts.webui.forge import ForgeInjection
from lib_uniid.hosts.webui.own_words import prompts_of
from lib_uniid.hosts.webui.room import notes_on_room
from lib_uniid.hosts.webui.services import HostServices
from lib_uniid.hosts.webui.style_reference import Style, StyledInjection, prepare
from lib_uniid.hosts.webui.text_encoders import encoder_of, text_encoders_of, text_key
from lib_uniid.identity_pipeline import IdentityPipeline
from lib_uniid.methods import registry
from lib_uniid.pipeline import routing_maps
from lib_uniid.runtime import Runtime
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlanOfText:
    """A plan, and the key of the text encoders that it was built with."""

    plan: Plan | None
    key: Hashable

    def fits(self, key: Hashable, *, spoken: bool) -> bool:
        """``spoken`` says that some person has words of their own."""
        return self.plan is None or not (self.plan.context or spoken) or self.key == key


class Generation:
    """The request of the processing object ``p``. It holds no reference to that object, which owns it."""

    def __init__(self, request: Request, runtime: Runtime, p: Any) -> None:
        self.request, self.pipeline = request, IdentityPipeline(runtime)
        self.identities: FoundIdentities = find_identities(
            request, self.pipeline, runtime.library, _method(request, p)
        )
        self.overlays: list[Image.Image] = []
        self._record: RoutingRecord | None = None
        self._latent_size = (1, 1)
        self._method = ""
        self._plan_in_use: Plan | None = None
        self._room: list[str] = []
        self._started: Plan | None = None  # the plan that plugins were told of, until the batch is sampled
        self._maps: list[Float[np.ndarray, "i rows columns"]] = []
        self._styles: dict[tuple[int, int], Style] = {}
        self._plans: dict[tuple[object, ...], _PlanOfText] = {}

    def attach(
        self, p: Any, latent_size: tuple[int, int], services: HostServices, *, sampling: bool
    ) -> Attachment:
        """Inject all identities into the UNet that ``p`` samples from, at a latent size of (rows, columns).

        ``sampling`` says that the sampler runs already. Raises ``CheckpointMismatchError`` if the checkpoint
        and the weights are for different base models, or a checkpoint that follows another in one generation
        is for another method.
        """
        sites, base = _unet(p)
        method = registry.require(self.request.method, base).value.name
        if self._method and method != self._method:
            raise _wrong_checkpoint(f"is a {base.title} checkpoint, for the method {method}")
        self._method = method
        self._plan_in_use = self._plan(p, sites, latent_size, services)
        plan = self._plan_in_use or Plan(branches={})
        self._room = notes_on_room(p, plan.text_tokens)
        wanted = self.request.show_routing and len(self.identities.settings) > 1
        self._record, self._latent_size = RoutingRecord() if wanted else None, latent_size
        style = self._style(p, latent_size, base, services.encode)
        if is_forge(p):
            load = services.load if sampling else None
            injection = ForgeInjection(p, sites, plan, load, record=self._record)
        else:
            injection = A1111Injection(p, sites, plan, record=self._record)
        return injection if style is None else StyledInjection(p, sites, injection, style)

    def started(self) -> list[str]:
        """Identities are injected: tell plugins, once per batch for all its passes; returns notes."""
        if self._plan_in_use is None:
            return [f"Identities not applied: the method {self._method} injects nothing for them"]
        if self._started is not None:
            return []
        self._started = self._plan_in_use
        return [
            *self._started.notes,
            *self._room,
            *self.pipeline.announce("generation_started", self._started),
        ]

    def sampled(self, attached: Attachment, pictures: int) -> list[str]:
        """A batch is sampled: tell plugins, and keep a routing map of each picture; returns notes."""
        finished, self._started = self._started, None
        maps = None if self._record is None else routing_maps(self._record, *self._latent_size)
        self._record, self._maps = None, []
        if maps is not None:
            rows = [attached.row_of(number, pictures, len(maps)) for number in range(pictures)]
            self._maps = [maps[row] for row in rows if row < len(maps)]
        return self.pipeline.announce("generation_finished", finished)

    def draw(self, picture: Image.Image) -> list[str]:
        """Draw the routing map over the next picture of the batch, if requested; returns notes."""
        if not self._maps:
            return []
        drawn = draw_routing(np.asarray(picture.convert("RGB")), self._maps.pop(0))
        self.overlays.append(Image.fromarray(drawn))
        return [legend([one.name for one in self.identities.settings])] if len(self.overlays) == 1 else []

    def check(self, picture: Image.Image) -> Presence:
        """Check which people are in a finished picture."""
        people = [self.identities.people[one.name] for one in self.identities.settings]
        return self.pipeline.check(np.asarray(picture.convert("RGB")), people)

    def _plan(
        self, p: Any, sites: tuple[Site, ...], latent_size: tuple[int, int], services: HostServices
    ) -> Plan | None:
        """Built once for each UNet layout, and with places to give also once for each size.

        With own words it is for certain prompts; where it reads or changes text, for certain text encoders.
        """
        of_texts = text_key(p, services)
        people = self.identities.settings
        placed = len(people) > 1 or any(one.mask is not None for one in people)
        layout = tuple((site.width, site.context, site.heads) for site in sites)
        prompts = prompts_of(p, people)
        key = (self._method, layout, latent_size if placed else None, prompts)
        if key not in self._plans or not self._plans[key].fits(of_texts, spoken=bool(prompts)):
            options = PlanOptions(
                **numbers_of(self.request, SharedSettings),
                routing=self.request.routing,  # pyright: ignore[reportArgumentType], checked by the request
                latent_size=latent_size,
                prompts=prompts or ("",),
                encode=encoder_of(p, services),
                text_encoders=text_encoders_of(p, services),
            )
            # The host may be in inference mode, whose tensors cannot be used outside it.
            with torch.inference_mode(mode=False):
                plan = self.pipeline.plan_for(sites, people, self.identities.people, options, self._method)
            self._plans[key] = _PlanOfText(plan=plan, key=of_texts)
        return self._plans[key].plan

    def _style(
        self, p: Any, latent_size: tuple[int, int], base: Base, encode: Callable[[Any, Any], Any]
    ) -> Style | None:
        """Encoded once for each size, and inverted once for each size and UNet."""
        if self.identities.style is not None and latent_size not in self._styles:
            self._styles[latent_size] = prepare(p, self.identities.style, latent_size, base, encode)
        return self._styles.get(latent_size)


def _method(request: Request, p: Any) -> str | None:
    """The method of the request, else the one for the loaded checkpoint; None if its type is unknown.

    A checkpoint of an unknown type is refused when the identities are to be injected: it may be replaced
    until then.
    """
    try:
        _, base = _unet(p)
    except CheckpointMismatchError:
        return request.method
    return registry.require(request.method, base).value.name


def _unet(p: Any) -> tuple[tuple[Site, ...], Base]:
    """The sites of the UNet, and its base family."""
    try:
        sites = find_sites(unet_of(p))
    except (AttributeError, HostTooOldError) as error:
        raise _wrong_checkpoint("has no UNet of Stable Diffusion") from error
    shape = shape_of(sites)
    base = of_unet(shape)
    if base is None:
        raise _wrong_checkpoint(f"is of an unknown type ({shape})")
    return sites, base


def _wrong_checkpoint(found: str) -> CheckpointMismatchError:
    return CheckpointMismatchError(
        f"UniID needs a {titles(registry.bases())} checkpoint, and the one that is loaded {found}; "
        "select such a checkpoint, or turn UniID off"
    )
