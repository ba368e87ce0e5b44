"""Functions that several commands use."""

from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from lib_uniid.commands.command_runtime import runtime_of
from lib_uniid.commands.inputs import GivenPicture, library_folder
from lib_uniid.errors import SeveralFacesError
from lib_uniid.faces.detected import DetectedFace
from lib_uniid.hosts.diffusers.studio import studio_of
from lib_uniid.library.store import Library
from lib_uniid.pipeline import Reference, Studio


def studio(options: Namespace) -> Studio:
    """The studio of the models folder."""
    return studio_of(runtime_of(options), getattr(options, "base", None))


def library(options: Namespace) -> Library:
    """The library of enrolled people."""
    library_folder(options)  # raises if it is a file
    return runtime_of(options).library


def reference(
    given: GivenPicture,
    *,
    number: int | None = None,
    point: tuple[float, float] | None = None,
    largest: bool = False,
) -> Reference:
    """The reference of ``FILE`` or ``FILE#2``; this number overrides the choice for all pictures."""
    if given.number is not None:
        number, point, largest = given.number, None, False
    return Reference(picture=given.load, label=given.path.name, number=number, point=point, largest=largest)


@contextmanager
def explaining_choice(more: str = "") -> Generator[None]:
    """Add to ``SeveralFacesError`` how to choose a face on the command line."""
    try:
        yield
    except SeveralFacesError as error:
        raise SeveralFacesError(f"{error}: write FILE#2 for the second face from the left{more}") from error


def face_result(seen: DetectedFace) -> dict[str, Any]:
    """A face in pixels of its picture."""
    return {
        "number": seen.face.number,
        "box": [round(side, 1) for side in seen.face.box],
        "score": round(seen.face.score, 3),
        "sharpness": round(seen.quality.sharpness, 3),
        "yaw": round(seen.quality.yaw, 1),
        "advice": list(seen.quality.advice),
    }
