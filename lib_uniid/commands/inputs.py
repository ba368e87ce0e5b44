"""A command's arguments, checked before anything heavy is imported."""

import errno
import os
import re
import socket
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib_uniid.checkpoints.sources import source
from lib_uniid.commands.command_runtime import runtime_of
from lib_uniid.config import GenerationSettings
from lib_uniid.declarations import id_encoder
from lib_uniid.errors import ConfigError, FileError, PictureError
from lib_uniid.faces.picture import check_picture, load_mask, load_picture
from lib_uniid.failures import sentence
from lib_uniid.library.names import normal
from lib_uniid.methods import registry
from lib_uniid.typing import Float32, UInt8

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GivenPicture:
    """A checked picture file, not decoded yet, and the number of the chosen face."""

    path: Path
    number: int | None

    def load(self) -> Picture:
        return load_picture(self.path)


def picture(text: str, what: str) -> Picture:
    """The picture of an argument; ``what`` is the option's name.

    Raises ``PictureError`` if the file is missing or not a picture, ``ConfigError`` for an empty text.
    """
    return load_picture(_file(text, what))


def mask(text: str, what: str) -> Float32[np.ndarray, "height width"]:
    """The mask of an argument, as :func:`picture`."""
    return load_mask(_file(text, what))


def picture_file(text: str, what: str) -> Path:
    """The file of an argument, after a check that it begins as a picture; errors as :func:`picture`."""
    path = _file(text, what)
    check_picture(path)
    return path


def given_picture(text: str, what: str) -> GivenPicture:
    """A picture of a person: ``FILE``, or ``FILE#2`` for the second face from the left in it."""
    numbered = re.fullmatch(r"(.+)#(\d+)", text)
    if numbered is None or os.path.exists(text):
        return GivenPicture(path=picture_file(text, what), number=None)
    return GivenPicture(path=picture_file(numbered[1], what), number=int(numbered[2]))


def named(text: str, option: str, form: str) -> tuple[str, str]:
    """The two sides of ``NAME=VALUE``; ``ConfigError`` with the option and its form if one is missing."""
    name, _, value = text.partition("=")
    if not normal(name) or not value:
        raise ConfigError(f"--{option} takes {form}, got {text!r}")
    return normal(name), value


def number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--{option} takes NUMBER or NAME=NUMBER, got {text!r}") from None


def require_file(path: Path) -> None:
    """Raise ``FileError`` if a file or folder does not exist."""
    try:
        path.stat()
    except OSError as error:
        raise FileError(sentence(error)) from error


def require_models(options: Namespace, *names: str) -> None:
    """Raise the error of ``ModelFolder.find`` if the models folder or one of these models cannot be used."""
    index = runtime_of(options).index
    for name in names:
        index.find(name)


def require_detector(options: Namespace) -> None:
    """As :func:`require_models`, for the face detector."""
    require_models(options, runtime_of(options).detector.value.source)


def require_method(options: Namespace, settings: GenerationSettings, *, several: bool) -> None:
    """As :func:`require_models`, for the method; with ``several`` also to choose between several people.

    Also refuses what the method does not read of the settings.
    """
    declared = declared_method(options, settings.method)
    declared.check_shared(settings)
    for person in settings.people:
        declared.check(person)
    needed = [name for name in declared.sources if source(name).needed]
    branches = declared.branch_files.get(settings.branches, ())
    require_models(options, *needed, *branches, *(declared.several if several else ()))


def require_encoder(options: Namespace, method: str | None) -> None:
    """As :func:`require_models`, for the ID encoder of a method."""
    sources = id_encoder(declared_method(options, method).encoder).value.sources
    require_models(options, *(name for name in sources if source(name).needed))


def declared_method(options: Namespace, name: str | None) -> registry.MethodDeclaration:
    """The method of this name, or the one for the checkpoint; its family is read off its header."""
    index = runtime_of(options).index
    path = getattr(options, "base", None) or index.look_up("base")
    return registry.require(name, None if path is None else index.base(path)).value


def library_folder(options: Namespace) -> Path:
    """The folder of enrolled people, which need not exist; ``FileError`` if it is a file."""
    folder = options.library or options.models / "uniid" / "library"
    if folder.exists() and not folder.is_dir():
        raise FileError(sentence(NotADirectoryError(errno.ENOTDIR, "", str(folder))))
    return folder


def require_port(port: int) -> None:
    """Raise ``ConfigError`` if a port of this machine cannot be used."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # on other systems this option lets two programs use one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is in use by another program" if taken else f"cannot be used ({error.strerror})"
            raise ConfigError(f"port {port} {why}; choose another with --port, or leave it out") from error


def _file(text: str, what: str) -> Path:
    if not text:
        raise ConfigError(f"{what} is empty; give a picture file")
    path = Path(text)
    try:
        path.stat()
    except OSError as error:
        raise PictureError(sentence(error)) from error
    return path
