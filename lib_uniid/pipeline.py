"""The whole story on one page: pictures -> faces -> ID features -> tokens -> plan -> picture -> check."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from lib_uniid.bases import SD15
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.declarations import scorers
from lib_uniid.encoders.identity import IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, NoFaceError, SeveralFacesError
from lib_uniid.evaluation.presence import Presence, check, other_recogniser
from lib_uniid.faces.alignment import align
from lib_uniid.faces.choice import choose
from lib_uniid.faces.detection import FaceFinder
from lib_uniid.faces.quality import assess
from lib_uniid.faces.same import require_one_person
from lib_uniid.faces.seen import SeenFace, SeenFaces
from lib_uniid.failures import explain
from lib_uniid.host import Host, Picture, Preview, Progress, no_preview, no_progress
from lib_uniid.library.names import checked
from lib_uniid.library.store import Identity
from lib_uniid.methods import registry
from lib_uniid.methods.guarded import guarded
from lib_uniid.methods.method import RequestedIdentity
from lib_uniid.models import Models
from lib_uniid.plugins import plugins
from lib_uniid.typing import Float, UInt8

PIXELS = SD15.pixels
SCORER = "presence"
AT_ONCE = 4
"""Pictures of a series that a graphics card samples together. A processor gains nothing by it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """A picture of a person, and which of its faces is meant (see :func:`lib_uniid.faces.choice.choose`).

    Several large pictures are best given as functions that decode them: one is in memory at a time then.
    """

    picture: Picture | Callable[[], Picture]
    label: str
    number: int | None = None
    point: tuple[float, float] | None = None
    largest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GeneratedPicture:
    """A finished picture, the seed that makes it again, who is in it, and who was given which place.

    ``routing`` holds one map per person at the size of the latent; None with fewer than two people.
    """

    picture: Picture
    seed: int
    presence: Presence
    routing: Float[np.ndarray, "i rows columns"] | None = None


OnPicture = Callable[[int, GeneratedPicture, bool], None]
"""Called with a picture's number in its series, the picture, and whether no more seeds are tried for it."""


def _untold(number: int, made: GeneratedPicture, final: bool) -> None:
    """Pictures that nobody waits for."""


class Studio:
    """Enrols people and makes pictures of them, with the networks of ``models`` and a host.

    The host is loaded when the first picture is made, and kept. ``seen`` keeps the faces of pictures.
    """

    def __init__(self, models: Models, load_host: Callable[[], Host], seen: SeenFaces | None = None) -> None:
        self.models, self._load_host = models, load_host
        self.seen = SeenFaces() if seen is None else seen

    def faces(self, picture: Picture) -> tuple[SeenFace, ...]:
        """Every face in a picture, left to right."""
        finder = self.models.finder
        return self.seen.look(picture, str(finder.recogniser), lambda: _faces(finder, picture))

    @property
    def knows(self) -> str | None:
        """A sentence on what the face models know, where it is less than photographs."""
        domain = self.models.finder.domain
        return None if domain is None else domain.note

    def enrol(
        self,
        name: str,
        references: Sequence[Reference],
        *,
        progress: Progress = no_progress,
        force: bool = False,
    ) -> tuple[Identity, tuple[SeenFace, ...]]:
        """A person from pictures of them, and the face that was taken from each.

        Raises ``NoFaceError`` or ``SeveralFacesError`` naming the picture, ``ConfigError`` for a name that
        :func:`lib_uniid.library.names.checked` refuses, and ``DifferentPeopleError`` for pictures that seem
        to show several people, unless they are joined by ``force``.
        """
        name = checked(name)
        if not references:
            raise ConfigError(f"{name} has no pictures; give at least one")
        chosen: list[SeenFace] = []
        for number, reference in enumerate(references, start=1):
            chosen.append(self._choose(reference))
            progress(number, len(references) + 1)
        if not force:
            require_one_person([reference.label for reference in references], chosen)
        features = self.models.encode(np.stack([seen.crop for seen in chosen]))
        progress(len(references) + 1, len(references) + 1)
        person = Identity(
            name=name,
            features=features,
            embedding=_mean_embedding(chosen),
            recogniser=self.models.finder.recogniser,
        )
        return person, tuple(chosen)

    def generate(
        self,
        settings: GenerationSettings,
        people: Mapping[str, Identity],
        *,
        start: Picture | None = None,
        progress: Progress = no_progress,
        tell: OnPicture = _untold,
        preview: Preview = no_preview,
    ) -> list[GeneratedPicture]:
        """Pictures of the people whom the settings name, checked; with retries, the best of all tries.

        The tries of picture n have the seeds ``seed + n + try * pictures``. Every try runs from start to
        end of ``progress``; before the first one a style picture is inverted, which runs through it, too.
        ``tell`` is given each picture as soon as it is there, so that it is not lost when a later one fails.
        """
        if settings.people:
            _ = self.models.finder  # what is missing for the check is said before the sampling, not after
        side = self.host.side
        settings = replace(settings, width=settings.width or side, height=settings.height or side)
        order = _Order(
            settings=settings,
            plan=self.plan(settings, people),
            people=[people[person.name] for person in settings.people],
            start=None if start is None else fitted(start, _latent_size(settings)),
            style=self._style(settings, progress),
            progress=progress,
            preview=preview,
        )
        made: dict[int, GeneratedPicture] = {}
        for number in range(settings.retries + 1):
            poor = [n for n in range(settings.pictures) if n not in made or made[n].presence.improvable]
            for n, again in self._tries(order, poor, number):
                made[n] = max(made.get(n, again), again, key=lambda one: one.presence.rank)
                tell(n, made[n], number == settings.retries or not made[n].presence.improvable)
        return [made[n] for n in range(settings.pictures)]

    def plan(self, settings: GenerationSettings, people: Mapping[str, Identity]) -> Plan | None:
        """What is injected for these people at a size that is set; None without people."""
        if not settings.people:
            return None
        options = PlanOptions(
            identity_scale=settings.identity_scale,
            routing=settings.routing,
            latent_size=_latent_size(settings),
        )
        registry.require_base(registry.require(settings.method).value, self.host.base)
        return self.plan_for(self._sites, settings.people, people, options, settings.method)

    def plan_for(
        self,
        sites: Sequence[Site],
        asked: Sequence[PersonSettings],
        people: Mapping[str, Identity],
        options: PlanOptions,
        method: str | None = None,
    ) -> Plan | None:
        """The same for any UNet with these sites, so that a host may sample by itself.

        ``ConfigError`` where there is no such method, ``PluginError`` where a plugin's method fails.
        """
        fingerprint = _encoder_of(asked, people)

        def null() -> IDFeatures:
            with _naming([person.name for person in asked]):
                return self.models.null_identity(fingerprint)

        found = [
            RequestedIdentity(
                settings=person,
                features=people[person.name].features,
                mixed=[(people[name].features, share) for name, share in person.mix],
            )
            for person in asked
        ]
        declared = registry.require(method)
        with plugins().guarding(declared.plugin, f"planning with {declared.value.name}"):
            plan = self.models.method(method).plan(sites, found, null, options)
        return None if plan is None else guarded(plan, plugins(), declared.plugin)

    def announce(self, hook: str, plan: Plan | None) -> None:
        """Tell plugins of a generation; a plugin that raises is switched off, and the generation goes on."""
        for sentence in () if plan is None else plugins().announce(hook, plan=plan):
            self.models.notify(sentence)

    def check(self, picture: Picture, people: Sequence[Identity]) -> Presence:
        """Who of ``people`` is in a finished picture; a person of another recogniser is not looked for."""
        faces = self.models.finder.find(picture) if people else ()
        score = scorers()[SCORER].value.load()
        return score(faces, [(one.name, one.embedding) for one in people], self._unchecked(people))

    def _looked_for(self, people: Sequence[Identity], picture: Picture) -> Presence:
        """As :meth:`check`; where that fails the picture is kept, and why is said of each person."""
        try:
            return self.check(picture, people)
        except Exception as error:
            reason = explain(error, "checking a picture")
            asked = [(one.name, one.embedding) for one in people]
            return check((), asked, unchecked={one.name: reason for one in people})

    def _unchecked(self, people: Iterable[Identity]) -> dict[str, str]:
        """Reasons by name; files of earlier versions do not name a recogniser and are compared."""
        used = self.models.finder.recogniser if any(one.recogniser for one in people) else None
        return {
            one.name: other_recogniser(one.recogniser, used)
            for one in people
            if used is not None and one.recogniser not in (None, used)
        }

    @cached_property
    def host(self) -> Host:
        """What makes the pictures."""
        self.models.notify("loading the base model")
        return self._load_host()

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        return find_sites(self.host.unet)

    def _choose(self, reference: Reference) -> SeenFace:
        picture = reference.picture
        seen = self.faces(picture() if callable(picture) else picture)
        try:
            face = choose(
                [one.face for one in seen],
                number=reference.number,
                point=reference.point,
                largest=reference.largest,
            )
        except (NoFaceError, SeveralFacesError) as error:
            known = "" if seen or self.knows is None else f"; {self.knows}"
            error.args = (f"{error}{known}",)
            error.within(reference.label)
            raise
        return seen[face.number - 1]

    def _style(self, settings: GenerationSettings, progress: Progress) -> "_Style | None":
        if settings.style is None:
            return None
        picture = fitted(settings.style.picture, _latent_size(settings))
        return _Style(
            latents=self.host.invert(picture, settings.steps, progress=progress),
            sharing=Sharing(score_shift=math.log(settings.style.strength)),
        )

    def _tries(
        self, order: "_Order", wanted: Sequence[int], number: int
    ) -> Iterator[tuple[int, GeneratedPicture]]:
        """Try ``number`` of the pictures that are wanted, some at once."""
        at_once = 1 if self.host.device.type == "cpu" else AT_ONCE
        groups = [wanted[first : first + at_once] for first in range(0, len(wanted), at_once)]
        for done, group in enumerate(groups):

            def progress(step: int, steps: int, done: int = done) -> None:
                order.progress(done * steps + step, len(groups) * steps)

            seeds = [order.settings.seed + n + number * order.settings.pictures for n in group]
            yield from zip(group, self._make(replace(order, progress=progress), seeds), strict=True)

    def _make(self, order: "_Order", seeds: Sequence[int]) -> list[GeneratedPicture]:
        rows, record = Rows(()), RoutingRecord() if len(order.people) > 1 else None
        sharing, style = (order.style.sharing, order.style.latents) if order.style else (None, None)
        self.announce("generation_started", order.plan)
        with (
            injected(self._sites if order.plan else (), order.plan, rows, record=record) as calls,
            shared(self._sites if sharing else (), sharing, rows),
        ):
            latents = self.host.sample(
                order.settings,
                seeds,
                start=order.start,
                style=style,
                rows=rows,
                progress=order.progress,
                preview=order.preview,
            )
        calls.require()
        self.announce("generation_finished", order.plan)
        if calls.compiled:
            self.models.notify("the UNet is compiled: this picture was computed without torch.compile")
        maps = None if record is None else routing_maps(record, *_latent_size(order.settings))
        return [
            GeneratedPicture(
                picture=picture,
                seed=seed,
                presence=self._looked_for(order.people, picture),
                routing=None if maps is None else maps[n % len(maps)],
            )
            for n, (seed, picture) in enumerate(zip(seeds, self.host.decode(latents), strict=True))
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Style:
    """An inverted style picture, and how the pictures attend to it."""

    latents: Float[torch.Tensor, "steps 4 rows columns"]
    sharing: Sharing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Order:
    """What stays the same over all tries of a generation; the size is set in ``settings``."""

    settings: GenerationSettings
    plan: Plan | None
    people: Sequence[Identity]
    start: Picture | None
    style: _Style | None
    progress: Progress
    preview: Preview


def _faces(finder: FaceFinder, picture: Picture) -> list[SeenFace]:
    seen: list[SeenFace] = []
    for face in finder.find(picture):
        crop = align(picture, face.landmarks)
        seen.append(SeenFace(face=face, crop=crop, quality=assess(picture, face, crop)))
    return seen


def _encoder_of(asked: Sequence[PersonSettings], people: Mapping[str, Identity]) -> str:
    """The fingerprint of the encoders that made all people; only some may have been encoded with structure.

    Raises ``ConfigError`` for a person who was not given, ``EncoderMismatchError`` for other encoders.
    """
    names = [name for person in asked for name in (person.name, *dict(person.mix))]
    for name in names:
        if name not in people:
            raise ConfigError(f"{name!r} is named in the settings and was not given; enrol them first")
    fingerprint = max((people[name].features.fingerprint for name in names), key=len)
    for name in names:
        with _naming([name]):
            people[name].features.require(fingerprint)
    return fingerprint


@contextmanager
def _naming(people: Sequence[str]) -> Generator[None]:
    """Say who has to be enrolled again where encoders were changed."""
    try:
        yield
    except EncoderMismatchError as error:
        raise EncoderMismatchError(f"{', '.join(people)}: {error}") from error


def _mean_embedding(chosen: Sequence[SeenFace]) -> Float[np.ndarray, " d"]:
    embeddings = [seen.face.embedding for seen in chosen if seen.face.embedding is not None]
    mean = np.stack(embeddings).mean(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def _latent_size(settings: GenerationSettings) -> tuple[int, int]:
    """Rows and columns."""
    height, width = settings.height, settings.width
    assert height is not None, "the size is set before anything is planned"
    assert width is not None, "the size is set before anything is planned"
    return height // PIXELS, width // PIXELS


def fitted(
    picture: Picture, latent_size: tuple[int, int]
) -> UInt8[np.ndarray, "fitted_height fitted_width 3"]:
    """Scaled until it covers the size of latents in (rows, columns); the middle is kept."""
    rows, columns = latent_size
    size = (columns * PIXELS, rows * PIXELS)
    return np.array(ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS))


def routing_maps(
    record: RoutingRecord, rows: int, columns: int
) -> Float[np.ndarray, "b i rows columns"] | None:
    """The mean over all sites of who has which place, in the last step; None where no person was injected."""
    layers: list[torch.Tensor] = []
    for routing in record.maps.values():
        height, width = grids(rows, columns).get(routing.shape[1], (1, 1))
        grid = rearrange(routing.float(), "b (h w) i -> b i h w", h=height, w=width)
        layers.append(F.interpolate(grid, size=(rows, columns), mode="nearest"))
    return torch.stack(layers).mean(dim=0).cpu().numpy() if layers else None
