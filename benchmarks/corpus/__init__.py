"""Hostile input: each module of this folder has ``cases()``, and ``benchmarks/hostile.py`` measures them.

A case writes one file and hands it to one door: the function that a user's file would reach.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One hostile input.

    Attributes:
        name: unique in its module, such as ``9-bytes-of-4-gigabytes``.
        door: opens what was written. A value or a foreseeable error is an answer, any other exception is a
            fault. It runs in a process of its own, forked from one that has imported the case's module, so
            what the module imports is not measured.
        write: puts the input into an empty folder that it is given; returns the path for the door.
        quick: small enough for the tests.
    """

    name: str
    door: Callable[[Path], object]
    write: Callable[[Path], Path]
    quick: bool = True


def writes(name: str, text: Callable[[], str]) -> Callable[[Path], Path]:
    """A case's ``write`` for a text; surrogates are written as they are."""

    def write(folder: Path) -> Path:
        path = folder / name
        path.write_text(text(), encoding="utf-8", errors="surrogatepass")
        return path

    return write


def read(path: Path) -> str:
    """What :func:`writes` wrote."""
    return path.read_text(encoding="utf-8", errors="surrogatepass")
