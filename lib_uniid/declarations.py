"""What plugins register beside methods and files. Light: whatever is heavy is imported when it is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lib_uniid.errors import ConfigError
from lib_uniid.plugins import KINDS, Registered, plugins

if TYPE_CHECKING:
    import numpy as np

    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.encoders.encoder import FaceEncoder
    from lib_uniid.evaluation.presence import Check
    from lib_uniid.faces.finder import Finder
    from lib_uniid.typing import Float

    Vector = Float[np.ndarray, " d"]
else:
    ModelFolder = FaceEncoder = Check = Finder = Vector = Any

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class IDEncoderDeclaration:
    """An encoder of faces into ID features; ``open`` loads it on the CPU in float32.

    ``sources`` names its rows of model files.
    """

    name: str
    open: Callable[[ModelFolder], FaceEncoder]
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceDetector:
    """A finder of faces; ``open`` loads it with its recogniser. ``source`` names its row of model files."""

    name: str
    source: str
    open: Callable[[ModelFolder], Finder]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A check of a finished picture; ``load`` imports it."""

    name: str
    load: Callable[[], Check]


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """A direction of an attribute, ``title`` in words; ``load`` gives the vector, as wide as the text."""

    name: str
    title: str
    load: Callable[[], Vector]


def id_encoders() -> Mapping[str, Registered[IDEncoderDeclaration]]:
    """By name."""
    return plugins().registered("register_id_encoders", IDEncoderDeclaration)


def face_detectors() -> Mapping[str, Registered[FaceDetector]]:
    """By name."""
    return plugins().registered("register_face_detectors", FaceDetector)


def scorers() -> Mapping[str, Registered[Scorer]]:
    """By name."""
    return plugins().registered("register_scorers", Scorer)


def directions() -> Mapping[str, Registered[Direction]]:
    """By name."""
    return plugins().registered("register_directions", Direction)


def id_encoder(name: str) -> Registered[IDEncoderDeclaration]:
    """The encoder of this name; ``ConfigError`` if there is none."""
    return _chosen(id_encoders(), name, "register_id_encoders")


def face_detector(name: str | None) -> Registered[FaceDetector]:
    """The detector of this name, or the built-in one; ``ConfigError`` if there is none of the name."""
    return _chosen(face_detectors(), name, "register_face_detectors")


def scorer(name: str | None) -> Registered[Scorer]:
    """The check of this name, or the built-in one; ``ConfigError`` if there is none of the name."""
    return _chosen(scorers(), name, "register_scorers")


def _chosen(known: Mapping[str, Registered[T]], name: str | None, hook: str) -> Registered[T]:
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        why = plugins().why_absent(hook, name)
        raise ConfigError(f"the {KINDS[hook]} must be one of {', '.join(known)}, got {name!r}{why}")
    return known[name]
