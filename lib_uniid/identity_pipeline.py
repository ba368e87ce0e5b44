"""What needs no host: pictures -> faces -> ID features -> tokens -> plan; and the check of a picture."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.sites import Site
from lib_uniid.config import PersonSettings
from lib_uniid.declarations import scorers
from lib_uniid.encoders.identity import IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, NoFaceError, SeveralFacesError
from lib_uniid.evaluation.presence import Presence, other_recogniser
from lib_uniid.faces.alignment import align
from lib_uniid.faces.choice import choose
from lib_uniid.faces.detection import FaceFinder
from lib_uniid.faces.quality import assess
from lib_uniid.faces.same import require_one_person
from lib_uniid.faces.seen import SeenFace, digest_of
from lib_uniid.host import Picture, Progress, no_progress
from lib_uniid.library.names import checked
from lib_uniid.library.store import Identity
from lib_uniid.methods import registry
from lib_uniid.methods.guarded import guarded
from lib_uniid.methods.method import RequestedIdentity
from lib_uniid.models import Models
from lib_uniid.plugins import plugins
from lib_uniid.runtime import Runtime
from lib_uniid.typing import Float

SCORER = "presence"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """A picture of a person, and which of its faces is meant (see :func:`lib_uniid.faces.choice.choose`).

    Several large pictures are best given as functions that decode them: one is in memory at a time then.
    ``digest`` is the SHA-256 of the picture's file: where its faces are known, it is not decoded again.
    """

    picture: Picture | Callable[[], Picture]
    label: str
    digest: str | None = None
    number: int | None = None
    point: tuple[float, float] | None = None
    largest: bool = False


class IdentityPipeline:
    """Finds faces, enrols people, plans what is injected, and checks who is in a finished picture.

    ``beside`` lets the encoders work on the processor, beside a generation; they are then its own.
    """

    def __init__(self, runtime: Runtime, *, beside: bool = False) -> None:
        self.runtime = runtime
        self._models = runtime.models_beside() if beside else None

    @property
    def models(self) -> Models:
        """The networks that encode and plan."""
        return self._models or self.runtime.models

    @property
    def finder(self) -> FaceFinder:
        """Finds faces; the runtime's."""
        return self.runtime.finder

    @property
    def domain_note(self) -> str | None:
        """A sentence on the pictures that the face models are trained for; None for photographs."""
        domain = self.finder.domain
        return None if domain is None else domain.note

    def faces(
        self, picture: Picture | Callable[[], Picture], digest: str | None = None
    ) -> tuple[SeenFace, ...]:
        """Every face in a picture, left to right; ``digest`` as for :class:`Reference`."""
        finder = self.finder
        if digest is None:
            picture = _decoded(picture)
            digest = digest_of(picture)
        return self.runtime.seen.look(
            digest, str(finder.recogniser), lambda: _faces(finder, _decoded(picture))
        )

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
            recogniser=self.finder.recogniser,
        )
        return person, tuple(chosen)

    def plan_for(
        self,
        sites: Sequence[Site],
        asked: Sequence[PersonSettings],
        people: Mapping[str, Identity],
        options: PlanOptions,
        method: str | None = None,
    ) -> Plan | None:
        """What is injected at these sites, for any UNet that has them; None without people.

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
            self.runtime.notify(sentence)

    def check(self, picture: Picture, people: Sequence[Identity]) -> Presence:
        """Who of ``people`` is in a finished picture; a person of another recogniser is not looked for."""
        faces = self.finder.find(picture) if people else ()
        score = scorers()[SCORER].value.load()
        return score(faces, [(one.name, one.embedding) for one in people], self._unchecked(people))

    def _unchecked(self, people: Iterable[Identity]) -> dict[str, str]:
        """Reasons by name; files of earlier versions do not name a recogniser and are compared."""
        used = self.finder.recogniser if any(one.recogniser for one in people) else None
        return {
            one.name: other_recogniser(one.recogniser, used)
            for one in people
            if used is not None and one.recogniser not in (None, used)
        }

    def _choose(self, reference: Reference) -> SeenFace:
        seen = self.faces(reference.picture, reference.digest)
        try:
            face = choose(
                [one.face for one in seen],
                number=reference.number,
                point=reference.point,
                largest=reference.largest,
            )
        except (NoFaceError, SeveralFacesError) as error:
            note = "" if seen or self.domain_note is None else f"; {self.domain_note}"
            error.args = (f"{error}{note}",)
            error.within(reference.label)
            raise
        return seen[face.number - 1]


def _decoded(picture: Picture | Callable[[], Picture]) -> Picture:
    return picture() if callable(picture) else picture


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
