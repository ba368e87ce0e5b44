"""What plugins register beside methods and files. Light: whatever is heavy is imported when it is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_uniid.plugins import Registered, plugins

if TYPE_CHECKING:
    import numpy as np

    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.encoders.identity import IDEncoder
    from lib_uniid.evaluation.presence import Check
    from lib_uniid.faces.detection import FaceFinder
    from lib_uniid.typing import Float

    Vector = Float[np.ndarray, " d"]
else:
    ModelFolder = IDEncoder = Check = FaceFinder = Vector = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class IDEncoderDeclaration:
    """An encoder of faces into ID features; ``open`` loads it on the CPU in float32."""

    name: str
    open: Callable[[ModelFolder], IDEncoder]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceDetector:
    """A finder of faces; ``open`` loads it with its recogniser. ``source`` names its row of model files."""

    name: str
    source: str
    open: Callable[[ModelFolder], FaceFinder]


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
