"""Encoders, detectors and checks of plugins: whatever a call raises names the plugin and switches it off.

What built-in plugins opened is returned as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import nn

from lib_uniid.encoders.encoder import FaceEncoder
from lib_uniid.encoders.identity import IDFeatures
from lib_uniid.evaluation.presence import Check, Presence
from lib_uniid.faces.detection import Face
from lib_uniid.faces.domain import Domain
from lib_uniid.faces.finder import Finder
from lib_uniid.plugins import plugins
from lib_uniid.typing import Float, UInt8

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guard:
    plugin: str
    doing: str

    def __call__(self, kind: type[T], call: Callable[[], T]) -> T:
        """The value of the call; one of another type than ``kind`` counts as an error of the plugin."""
        with plugins().guarding(self.plugin, self.doing):
            value = call()
            if not isinstance(value, kind):
                message = f"{type(value).__name__} instead of {kind.__name__}"
                raise TypeError(message)
            return value

    def optional(self, kind: type[T], call: Callable[[], T | None]) -> T | None:
        """The same for a value that may be None."""
        with plugins().guarding(self.plugin, self.doing):
            value = call()
        return None if value is None else self(kind, lambda: value)


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
        return self.guard(tuple, lambda: self.encoder.modules)

    @property
    def fingerprint(self) -> str:
        return self.guard(str, lambda: self.encoder.fingerprint)

    @property
    def reads_structure(self) -> bool:
        return self.guard(bool, lambda: self.encoder.reads_structure)

    def in_float32(self) -> None:
        self.guard(object, lambda: self.encoder.in_float32())

    def encode(self, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True) -> IDFeatures:
        return self.guard(IDFeatures, lambda: self.encoder.encode(crops, structure))

    def uncond(self, structure: bool = True) -> IDFeatures:
        return self.guard(IDFeatures, lambda: self.encoder.uncond(structure))


@dataclass(frozen=True, slots=True)
class _Finder:
    """A :class:`lib_uniid.faces.finder.Finder`."""

    finder: Finder
    guard: _Guard

    @property
    def domain(self) -> Domain | None:
        return self.guard.optional(Domain, lambda: self.finder.domain)

    @property
    def recogniser(self) -> str | None:
        return self.guard.optional(str, lambda: self.finder.recogniser)

    def find(self, picture: UInt8[np.ndarray, "height width 3"]) -> tuple[Face, ...]:
        return self.guard(tuple, lambda: self.finder.find(picture))
