"""Encoders, detectors and checks of plugins: an error or a wrong value names the plugin and switches it off.

What built-in plugins opened is returned as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from torch import Tensor, nn

from lib_uniid.encoders.encoder import FaceEncoder
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.evaluation.presence import Check, Presence
from lib_uniid.faces.detection import Face
from lib_uniid.faces.domain import Domain
from lib_uniid.faces.finder import Finder
from lib_uniid.plugins import plugins, required
from lib_uniid.typing import Float, UInt8

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guard:
    plugin: str
    doing: str

    def __call__(self, kind: type[T], call: Callable[[], T]) -> T:
        """The value of the call; one of another type than ``kind`` counts as an error of the plugin."""
        with plugins().guarding(self.plugin, self.doing):
            return required(kind, call())

    def optional(self, kind: type[T], call: Callable[[], T | None]) -> T | None:
        """The same for a value that may be None."""
        with plugins().guarding(self.plugin, self.doing):
            value = call()
            return None if value is None else required(kind, value)


def guarded_encoder(open_encoder: Callable[[], FaceEncoder], *, plugin: str, name: str) -> FaceEncoder:
    """What ``open_encoder`` opens."""
    with plugins().guarding(plugin, f"opening the ID encoder {name}"):
        encoder = open_encoder()
    if plugins().is_built_in(plugin):
        return encoder
    return _Encoder(encoder, _Guard(plugin=plugin, doing=f"encoding faces with {name}"))


def guarded_finder(open_finder: Callable[[], Finder], *, plugin: str, name: str) -> Finder:
    """What ``open_finder`` opens."""
    with plugins().guarding(plugin, f"opening the face detector {name}"):
        finder = open_finder()
    if plugins().is_built_in(plugin):
        return finder
    return _Finder(finder, _Guard(plugin=plugin, doing=f"detecting faces with {name}"))


def guarded_check(load: Callable[[], Check], *, plugin: str, name: str) -> Check:
    """What ``load`` imports."""
    with plugins().guarding(plugin, f"loading the check {name}"):
        check = load()
    if plugins().is_built_in(plugin):
        return check
    guard = _Guard(plugin=plugin, doing=f"checking a picture with {name}")

    def checked(
        faces: Sequence[Face],
        people: Sequence[tuple[str, Float[np.ndarray, " _"]]],
        unchecked: Mapping[str, str],
    ) -> Presence:
        return guard(Presence, lambda: check(faces, people, unchecked))

    return checked


@dataclass(frozen=True, slots=True)
class _Encoder:
    """A :class:`lib_uniid.encoders.encoder.FaceEncoder`."""

    encoder: FaceEncoder
    guard: _Guard

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return self.guard(tuple, lambda: tuple(required(nn.Module, one) for one in self.encoder.modules))

    @property
    def fingerprint(self) -> str:
        return self.guard(str, lambda: self.encoder.fingerprint)

    @property
    def reads_structure(self) -> bool:
        return self.guard(bool, lambda: self.encoder.reads_structure)

    def in_float32(self) -> None:
        self.guard(object, lambda: self.encoder.in_float32())

    def encode(self, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True) -> IDFeatures:
        return self.guard(IDFeatures, lambda: _features(self.encoder.encode(crops, structure), len(crops)))

    def uncond(self, structure: bool = True) -> IDFeatures:
        return self.guard(IDFeatures, lambda: _features(self.encoder.uncond(structure), 1))


@dataclass(frozen=True, slots=True)
class _Finder:
    """A :class:`lib_uniid.faces.finder.Finder`."""

    finder: Finder
    guard: _Guard
    widths: set[int] = field(default_factory=set[int])
    """Lengths of the ID embeddings so far."""

    @property
    def domain(self) -> Domain | None:
        return self.guard.optional(Domain, lambda: self.finder.domain)

    @property
    def recogniser(self) -> str | None:
        return self.guard.optional(str, lambda: self.finder.recogniser)

    def find(self, picture: UInt8[np.ndarray, "height width 3"]) -> tuple[Face, ...]:
        return self.guard(tuple, lambda: tuple(self._face(one) for one in self.finder.find(picture)))

    def _face(self, value: object) -> Face:
        face = required(Face, value)
        if len(face.box) != 4 or required(np.ndarray, face.landmarks).shape != (5, 2):
            raise ValueError("a face without four sides or five landmarks")
        embedding = required(np.ndarray, face.embedding)
        if embedding.ndim != 1 or not len(embedding) or not np.isfinite(embedding).all():
            raise ValueError("an ID embedding that is not a vector of finite numbers")
        self.widths.add(len(embedding))
        if len(self.widths) > 1:
            message = f"ID embeddings of several lengths: {sorted(self.widths)}"
            raise ValueError(message)
        return face


def _features(value: object, references: int) -> IDFeatures:
    features = required(IDFeatures, value)
    for tensor in features.tensors.values():
        required(Tensor, tensor)
    features.check()
    if features.references != references:
        message = f"ID features of {features.references} references instead of {references}"
        raise ValueError(message)
    return features
