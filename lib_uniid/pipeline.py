"""The whole pipeline: pictures -> faces -> ID features -> tokens -> plan -> picture -> check."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image, ImageOps

from lib_uniid.attention.injection import injected
from lib_uniid.attention.math import grids
from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Rows
from lib_uniid.attention.sharing import Sharing, shared
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.attention.words import joined
from lib_uniid.bases import Base
from lib_uniid.config import GenerationSettings
from lib_uniid.evaluation.presence import Presence, check
from lib_uniid.failures import explain
from lib_uniid.fields.rows import numbers_of
from lib_uniid.fields.shared import SharedSettings
from lib_uniid.host import Host, Picture, Preview, Progress, SamplingOptions, no_preview, no_progress
from lib_uniid.identity_pipeline import IdentityPipeline, Reference
from lib_uniid.library.store import Identity
from lib_uniid.methods import registry
from lib_uniid.runtime import Runtime
from lib_uniid.typing import Float, UInt8

__all__ = [
    "AT_ONCE",
    "GeneratedPicture",
    "IdentityPipeline",
    "OnPicture",
    "Reference",
    "Studio",
    "fitted",
    "routing_maps",
]

AT_ONCE = 4
"""Pictures of a series that a GPU samples in one batch. On a CPU a batch is not faster."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GeneratedPicture:
    """A finished picture, its seed, the result of its check, and its routing map.

    ``routing`` has one map per person at the size of the latent; None with fewer than two people.
    """

    picture: Picture
    seed: int
    presence: Presence
    routing: Float[np.ndarray, "i rows columns"] | None = None


OnPicture = Callable[[int, GeneratedPicture, bool], None]
"""Called with a picture's number in its series, the picture, and whether it is final (no more retries)."""


OnNote = Callable[[str], None]
"""Called with a sentence on what differs from what was asked for."""


def _no_callback(number: int, made: GeneratedPicture, final: bool) -> None:
    """The default: pictures are only returned."""


class Studio(IdentityPipeline):
    """Enrols people and generates pictures of them, with the networks of a runtime and a host.

    The host is loaded for the first picture, and kept. ``recognise`` returns the base family without loading
    the host; None if it is unknown.
    """

    def __init__(
        self,
        runtime: Runtime,
        load_host: Callable[[], Host],
        recognise: Callable[[], Base | None] = lambda: None,
    ) -> None:
        super().__init__(runtime)
        self._load_host, self._recognise = load_host, recognise

    def method_for(self, name: str | None) -> str | None:
        """The method of this name to enrol for; without a name, the one that works with the base model.

        None, the default method, if the base family is unknown.
        """
        base = None if name else self.host.base if "host" in vars(self) else self._recognise()
        return name if base is None else registry.require(None, base).value.name

    def generate(
        self,
        settings: GenerationSettings,
        people: Mapping[str, Identity],
        *,
        start: Picture | None = None,
        progress: Progress = no_progress,
        on_picture: OnPicture = _no_callback,
        preview: Preview = no_preview,
        on_note: OnNote | None = None,
    ) -> list[GeneratedPicture]:
        """Checked pictures of the people in the settings; with retries, the best of all tries.

        The tries of picture n have the seeds ``seed + n + try * pictures``. ``progress`` runs from start to
        end for each try, and before them for the inversion of a style picture. ``on_picture`` is called with
        each finished picture, so a later failure does not lose it. ``on_note`` is the runtime's ``notify`` if
        it is not given.
        """
        if settings.people:
            _ = self.finder  # reports a missing face model before the sampling
        side = self.host.side
        settings = replace(settings, width=settings.width or side, height=settings.height or side)
        settings = _with_words_of_one(settings)
        plan = self.plan(settings, people)
        for note in () if plan is None else self._notes(plan, settings):
            (on_note or self.runtime.notify)(note)
        order = _Order(
            settings=settings,
            plan=plan,
            people=[people[person.name] for person in settings.people],
            sharing=_sharing(settings),
            options=SamplingOptions(
                start=None if start is None else self._fitted(start, settings),
                style=self._inverted_style(settings, progress),
                progress=progress,
                preview=preview,
            ),
        )
        made: dict[int, GeneratedPicture] = {}
        for number in range(settings.retries + 1):
            poor = [n for n in range(settings.pictures) if n not in made or made[n].presence.improvable]
            for n, again in self._tries(order, poor, number):
                made[n] = max(made.get(n, again), again, key=lambda one: one.presence.rank)
                on_picture(n, made[n], number == settings.retries or not made[n].presence.improvable)
        return [made[n] for n in range(settings.pictures)]

    def plan(self, settings: GenerationSettings, people: Mapping[str, Identity]) -> Plan | None:
        """The injection plan for these people; the settings must have a size. None without people."""
        if not settings.people:
            return None
        options = PlanOptions(
            **numbers_of(settings, SharedSettings),
            routing=settings.routing,
            latent_size=_latent_size(settings, self.host.base.pixels),
            prompts=(settings.prompt,),
            encode=self.host.encode,
            text_encoders=self.host.text_encoders,
        )
        method = registry.require(settings.method, self.host.base).value.name
        return self.plan_for(self._sites, settings.people, people, options, method)

    def _notes(self, plan: Plan, settings: GenerationSettings) -> list[str]:
        """The plan's own, and the words of the prompt for which the identities' tokens leave no room."""
        kept, lost = self.host.overlong(settings.prompt), ""
        if plan.text_tokens:
            lost = self.host.overlong(settings.prompt, plan.text_tokens).removesuffix(kept).strip()
        if not lost:
            return [*plan.notes]
        return [
            *plan.notes,
            f"the prompt has no room for these words beside {plan.text_tokens} tokens of identities, so they "
            f"are ignored: {lost}",
        ]

    def _checked(self, people: Sequence[Identity], picture: Picture) -> Presence:
        """Like :meth:`check`; a failure is the result of each person, and the picture is kept."""
        try:
            return self.check(picture, people)
        except Exception as error:
            reason = explain(error, "checking a picture")
            requested = [(one.name, one.embedding) for one in people]
            return check((), requested, unchecked={one.name: reason for one in people})

    @cached_property
    def host(self) -> Host:
        """The host, loaded on first use."""
        self.runtime.notify("loading the base model")
        return self._load_host()

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        return find_sites(self.host.unet)

    def _fitted(
        self, picture: Picture, settings: GenerationSettings
    ) -> UInt8[np.ndarray, "fitted_height fitted_width 3"]:
        pixels = self.host.base.pixels
        return fitted(picture, _latent_size(settings, pixels), pixels)

    def _inverted_style(
        self, settings: GenerationSettings, progress: Progress
    ) -> Float[torch.Tensor, "steps channels rows columns"] | None:
        if settings.style is None:
            return None
        picture = self._fitted(settings.style.picture, settings)
        return self.host.invert(picture, settings.steps, progress=progress)

    def _tries(
        self, order: "_Order", wanted: Sequence[int], number: int
    ) -> Iterator[tuple[int, GeneratedPicture]]:
        """Try ``number`` of the wanted pictures, in batches."""
        at_once = 1 if self.host.device.type == "cpu" else AT_ONCE
        groups = [wanted[first : first + at_once] for first in range(0, len(wanted), at_once)]
        for done, group in enumerate(groups):

            def progress(step: int, steps: int, done: int = done) -> None:
                order.options.progress(done * steps + step, len(groups) * steps)

            seeds = [order.settings.seed + n + number * order.settings.pictures for n in group]
            options = replace(order.options, progress=progress)
            yield from zip(group, self._make(replace(order, options=options), seeds), strict=True)

    def _announce(self, hook: str, plan: Plan | None) -> None:
        for sentence in self.announce(hook, plan):
            self.runtime.notify(sentence)

    def _make(self, order: "_Order", seeds: Sequence[int]) -> list[GeneratedPicture]:
        rows, record = Rows(()), RoutingRecord() if len(order.people) > 1 else None
        self._announce("generation_started", order.plan)
        with (
            injected(self._sites if order.plan else (), order.plan, rows, record=record) as calls,
            shared(self._sites if order.sharing else (), order.sharing, rows),
        ):
            latents = self.host.sample(order.settings, seeds, replace(order.options, rows=rows))
        calls.require()
        self._announce("generation_finished", order.plan)
        if calls.compiled:
            self.runtime.notify("the UNet is compiled: torch.compile was suspended for this picture")
        maps = None
        if record is not None:
            maps = routing_maps(record, *_latent_size(order.settings, self.host.base.pixels))
        return [
            GeneratedPicture(
                picture=picture,
                seed=seed,
                presence=self._checked(order.people, picture),
                routing=None if maps is None else maps[n % len(maps)],
            )
            for n, (seed, picture) in enumerate(zip(seeds, self.host.decode(latents), strict=True))
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Order:
    """The parameters that all tries of a generation share; ``settings`` has a size."""

    settings: GenerationSettings
    plan: Plan | None
    people: Sequence[Identity]
    sharing: Sharing | None
    options: SamplingOptions


def _with_words_of_one(settings: GenerationSettings) -> GenerationSettings:
    """Own words of the only person, without a mask, are words of the picture."""
    if len(settings.people) != 1 or settings.people[0].mask is not None:
        return settings
    (person,) = settings.people
    return replace(
        settings,
        prompt=joined(settings.prompt, person.prompt) if person.prompt.strip() else settings.prompt,
        people=(replace(person, prompt=""),),
    )


def _sharing(settings: GenerationSettings) -> Sharing | None:
    """How the pictures attend to the style picture."""
    return None if settings.style is None else Sharing(score_shift=math.log(settings.style.strength))


def _latent_size(settings: GenerationSettings, pixels: int) -> tuple[int, int]:
    """Rows and columns of the latents; one latent is ``pixels`` wide."""
    height, width = settings.height, settings.width
    assert height is not None, "the size is set before anything is planned"
    assert width is not None, "the size is set before anything is planned"
    return height // pixels, width // pixels


def fitted(
    picture: Picture, latent_size: tuple[int, int], pixels: int
) -> UInt8[np.ndarray, "fitted_height fitted_width 3"]:
    """Scaled and centre-cropped to the size of latents in (rows, columns); one latent is ``pixels`` wide."""
    rows, columns = latent_size
    size = (columns * pixels, rows * pixels)
    return np.array(ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS))


def routing_maps(
    record: RoutingRecord, rows: int, columns: int
) -> Float[np.ndarray, "b i rows columns"] | None:
    """The mean routing map of all sites in the last step; None if no person was injected."""
    layers: list[torch.Tensor] = []
    for routing in record.maps.values():
        height, width = grids(rows, columns).get(routing.shape[1], (1, 1))
        grid = rearrange(routing.float(), "b (h w) i -> b i h w", h=height, w=width)
        layers.append(F.interpolate(grid, size=(rows, columns), mode="nearest"))
    return torch.stack(layers).mean(dim=0).cpu().numpy() if layers else None
