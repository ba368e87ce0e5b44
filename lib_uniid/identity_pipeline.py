"""The part of the pipeline without a host: pictures -> faces -> ID features -> plan, and the check."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.sites import Site
from lib_uniid.attention.words import with_own_words
from lib_uniid.config import PersonSettings
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, NoFaceError, SeveralFacesError
from lib_uniid.evaluation.presence import Presence, other_recogniser
from lib_uniid.faces.alignment import align
from lib_uniid.faces.choice import choose
from lib_uniid.faces.detected import DetectedFace, digest_of
from lib_uniid.faces.finder import Finder
from lib_uniid.faces.quality import assess
from lib_uniid.faces.same import require_one_person
from lib_uniid.host import Picture, Progress, no_progress
from lib_uniid.library.identity import FIRST_ENCODER, Identity
from lib_uniid.library.names import checked
from lib_uniid.library.store import keep_features
from lib_uniid.methods import registry
from lib_uniid.methods.guarded import guarded
from lib_uniid.methods.method import RequestedIdentity
from lib_uniid.models import Models
from lib_uniid.plugins import plugins
from lib_uniid.runtime import Runtime
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """A picture of a person, and the choice of the face in it (see :func:`lib_uniid.faces.choice.choose`).

    Give several large pictures as functions that decode them: then only one is in memory at a time.
    ``digest`` is the SHA-256 of the picture's file; a picture with cached faces is not decoded again.
    """

    picture: Picture | Callable[[], Picture]
    label: str
    digest: str | None = None
    number: int | None = None
    point: tuple[float, float] | None = None
    largest: bool = False


class IdentityPipeline:
    """Detects faces, enrols people, plans injections, and checks which people are in a finished picture.

    With ``beside`` it has its own encoders on the CPU, which can run beside a generation.
    """

    def __init__(self, runtime: Runtime, *, beside: bool = False) -> None:
        self.runtime = runtime
        self._models = runtime.models_beside() if beside else None

    @property
    def models(self) -> Models:
        """The networks that encode and plan."""
        return self._models or self.runtime.models

    @property
    def finder(self) -> Finder:
        """The runtime's face detector."""
        return self.runtime.finder

    @property
    def domain_note(self) -> str | None:
        """A sentence on the pictures that the face models are trained for; None for photographs."""
        domain = self.finder.domain
        return None if domain is None else domain.note

    def faces(
        self, picture: Picture | Callable[[], Picture], digest: str | None = None
    ) -> tuple[DetectedFace, ...]:
        """Every face in a picture, left to right; ``digest`` as for :class:`Reference`."""
        finder = self.finder
        if digest is None:
            picture = _decoded(picture)
            digest = digest_of(picture)
        return self.runtime.detected.get(
            digest, str(finder.recogniser), lambda: _faces(finder, _decoded(picture))
        )

    def enrol(
        self,
        name: str,
        references: Sequence[Reference],
        *,
        progress: Progress = no_progress,
        force: bool = False,
        method: str | None = None,
    ) -> tuple[Identity, tuple[DetectedFace, ...]]:
        """A person's identity from reference pictures, and the chosen face of each.

        The features are made by the ID encoder of ``method``; see :meth:`method_for`. Those of other encoders
        are made from the crops when they are needed, because each encoder takes seconds to load.

        Raises ``NoFaceError`` or ``SeveralFacesError`` with the picture's label, ``ConfigError`` for a name
        that :func:`lib_uniid.library.names.checked` refuses, and without ``force`` ``DifferentPeopleError``
        for pictures that seem to show several people.
        """
        name = checked(name)
        if not references:
            raise ConfigError(f"{name} has no reference pictures; give at least one")
        chosen: list[DetectedFace] = []
        for number, reference in enumerate(references, start=1):
            chosen.append(self._choose(reference))
            progress(number, len(references) + 1)
        if not force:
            require_one_person([reference.label for reference in references], chosen)
        crops = np.stack([seen.crop for seen in chosen])
        encoder = registry.require(self.method_for(method)).value.encoder
        features = self.models.encode_with(encoder, crops)
        progress(len(references) + 1, len(references) + 1)
        person = Identity(
            name=name,
            features={encoder: features},
            embedding=_mean_embedding(chosen),
            crops=crops,
            recogniser=self.finder.recogniser,
        )
        return person, tuple(chosen)

    def method_for(self, name: str | None) -> str | None:
        """The method of this name to enrol for; None is the default method."""
        return name

    def plan_for(
        self,
        sites: Sequence[Site],
        requested: Sequence[PersonSettings],
        people: Mapping[str, Identity],
        options: PlanOptions,
        method: str | None = None,
    ) -> Plan | None:
        """The injection plan for any UNet with these sites; None without people.

        ``ConfigError`` if there is no such method, ``PluginError`` if a plugin's method fails,
        ``EncoderMismatchError`` for a person without features for the method who has no crops either.
        """
        features = self._features(requested, people, method)
        whole = max(features.values(), key=lambda one: len(one.tensors))

        def null() -> IDFeatures:
            with _naming([person.name for person in requested]):
                return self.models.null_identity(whole, method)

        found = [
            RequestedIdentity(
                settings=person,
                features=features[person.name],
                mixed=[(features[name], share) for name, share in person.mix],
            )
            for person in requested
        ]
        declared = registry.require(method)
        declared.value.check_shared(options)
        for person in requested:
            declared.value.check(person)
        with plugins().guarding(declared.plugin, f"planning with {declared.value.name}"):
            plan = self.models.method(method).plan(sites, found, null, options)
            plan = None if plan is None else guarded(plan, sites, plugins(), declared.plugin)
        words = {person.name: person.prompt for person in requested}
        return plan and with_own_words(plan, sites, words, options.prompts, options.encode)

    def features_of(self, person: Identity, method: str | None = None) -> IDFeatures:
        """The person's features for a method; missing ones are made from the crops, and kept in the library.

        ``EncoderMismatchError`` for a person without crops.
        """
        encoder = registry.require(method).value.encoder
        found = person.features_of(encoder)
        if found is None and encoder == registry.require(None).value.encoder:
            found = person.features_of(FIRST_ENCODER)
        if found is not None:
            return found
        if person.crops is None:
            raise EncoderMismatchError(
                f"{person.name} was enrolled by an earlier version, which kept no face crops to make the ID "
                f"features of {encoder} from; enrol the person again from the pictures"
            )
        made = self.models.encode_with(encoder, person.crops)
        keep_features(person, encoder, made)
        return made

    def _features(
        self, requested: Sequence[PersonSettings], people: Mapping[str, Identity], method: str | None
    ) -> dict[str, IDFeatures]:
        """The features of all people in the settings, by name.

        Raises ``ConfigError`` for a missing person, ``EncoderMismatchError`` for people of other encoders.
        """
        names = [name for person in requested for name in (person.name, *dict(person.mix))]
        for name in names:
            if name not in people:
                raise ConfigError(
                    f"{name!r} is in the settings, and no such identity is given; enrol it first"
                )
        found = {name: self.features_of(people[name], method) for name in dict.fromkeys(names)}
        whole = max(found.values(), key=lambda one: len(one.tensors))
        for name, features in found.items():
            with _naming([name]):
                whole.require(features)
        return found

    def announce(self, hook: str, plan: Plan | None) -> list[str]:
        """Call a hook of all plugins; a sentence for each plugin that raised and is switched off."""
        return [] if plan is None else plugins().announce(hook, plan=plan)

    def check(self, picture: Picture, people: Sequence[Identity]) -> Presence:
        """Check which of ``people`` are in a finished picture; people of another recogniser are unchecked."""
        faces = self.finder.find(picture) if people else ()
        requested = [(one.name, one.embedding) for one in people]
        return self.runtime.check(faces, requested, self._unchecked(people))

    def _unchecked(self, people: Iterable[Identity]) -> dict[str, str]:
        """Reasons by name; identities without a recogniser's name, from old files, are checked."""
        used = self.finder.recogniser if any(one.recogniser for one in people) else None
        return {
            one.name: other_recogniser(one.recogniser, used)
            for one in people
            if used is not None and one.recogniser not in (None, used)
        }

    def _choose(self, reference: Reference) -> DetectedFace:
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


def _faces(finder: Finder, picture: Picture) -> list[DetectedFace]:
    seen: list[DetectedFace] = []
    for face in finder.find(picture):
        crop = align(picture, face.landmarks)
        seen.append(DetectedFace(face=face, crop=crop, quality=assess(picture, face, crop)))
    return seen


@contextmanager
def _naming(people: Sequence[str]) -> Generator[None]:
    """Begin an ``EncoderMismatchError`` with the names of the people to re-enrol."""
    try:
        yield
    except EncoderMismatchError as error:
        raise EncoderMismatchError(f"{', '.join(people)}: {error}") from error


def _mean_embedding(chosen: Sequence[DetectedFace]) -> Float[np.ndarray, " d"]:
    embeddings = [seen.face.embedding for seen in chosen if seen.face.embedding is not None]
    mean = np.stack(embeddings).mean(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
