"""An enrolled person, and what becomes of two when references are added."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib_uniid.config import SAME_PERSON
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, DifferentPeopleError, EncoderMismatchError
from lib_uniid.typing import Float32, UInt8

FIRST_ENCODER = ""
"""Stands for the encoder of features in a file of the first format, which does not name it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identity:
    """An enrolled person: ID features for generation, face crops to make further ones, and an ID embedding.

    Attributes:
        name: of the person.
        features: by name of the ID encoder; those of other encoders are made from the crops on demand.
        embedding: for the check of the result: the L2-normalised mean of the recogniser's embeddings of the
            references.
        crops: the aligned face of each reference; None for a person of an earlier version.
        recogniser: the fingerprint of the recogniser's file, see
            :attr:`lib_uniid.faces.detection.FaceFinder.recogniser`; None if unknown, as in files of earlier
            versions.
        file: of the library that the person was loaded from.
    """

    name: str
    features: Mapping[str, IDFeatures]
    embedding: Float32[np.ndarray, " d"]
    crops: UInt8[np.ndarray, "r 224 224 3"] | None = None
    recogniser: str | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("a person has an empty name; give every person a name")
        if not self.features and self.crops is None:
            raise ConfigError(f"{self.name} has neither ID features nor face crops; enrol the person again")

    @property
    def references(self) -> int:
        """The number of reference pictures."""
        if self.crops is not None:
            return len(self.crops)
        return next(iter(self.features.values())).references

    def features_of(self, encoder: str) -> IDFeatures | None:
        """The features of an ID encoder; None if they are to be made from the crops."""
        return self.features.get(encoder)


def require_alike(person: Identity, more: Identity) -> None:
    """Raise ``DifferentPeopleError`` if the references of ``more`` seem to show another person."""
    alike = similarity(person.embedding, more.embedding)
    if alike < SAME_PERSON:
        raise DifferentPeopleError(
            f"these pictures do not seem to show {person.name} (similarity {alike:.2f}; "
            f"{SAME_PERSON:g} or more is one person). Save them under another name, or confirm that they "
            "show the same person (--force)"
        )


def similarity(one: Float32[np.ndarray, " d"], other: Float32[np.ndarray, " d"]) -> float:
    """Cosine similarity of two embeddings of one recogniser."""
    return float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12)


def joined(person: Identity, more: Identity) -> Identity:
    """The person with the references of ``more``; each reference has the same weight in the embedding.

    Features of the encoders that both have are joined, and those of other encoders are left out: they can be
    made from the crops of all references. Raises ``EncoderMismatchError`` if nothing can be joined.
    """
    features = _joined_features(person, more)
    crops = None
    if person.crops is not None and more.crops is not None:
        crops = np.concatenate([person.crops, more.crops])
    if not features and crops is None:
        raise EncoderMismatchError(
            f"{person.name} was enrolled with other face encoders than the current ones, and their features "
            "cannot be joined; save these pictures under another name, or re-enrol the person from all "
            "pictures with uniid enrol --replace"
        )
    if person.recogniser and more.recogniser and person.recogniser != more.recogniser:
        raise EncoderMismatchError(
            f"{person.name} was enrolled with the face recogniser {person.recogniser}, and "
            f"{more.recogniser} is used now; their ID embeddings cannot be joined. Re-enrol the person "
            "from all pictures with uniid enrol --replace"
        )
    total = person.references * person.embedding + more.references * more.embedding
    length = max(float(np.linalg.norm(total)), 1e-12)
    return replace(
        person,
        features=features,
        embedding=(total / length).astype(np.float32),
        crops=crops,
        recogniser=person.recogniser if person.recogniser == more.recogniser else None,
    )


def _joined_features(person: Identity, more: Identity) -> dict[str, IDFeatures]:
    """Features of the same networks; the newer ones have the name of the encoder in any case."""
    added = {one.fingerprint: (name, one) for name, one in more.features.items()}
    features: dict[str, IDFeatures] = {}
    for own in person.features.values():
        if own.fingerprint in added:
            name, other = added[own.fingerprint]
            features[name] = own.joined(other)
    return features
