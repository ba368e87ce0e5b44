"""Hostile input: each module of this folder has ``cases()``, and ``benchmarks/hostile.py`` measures them.

A case writes one file and passes it to one entry point: the function that reads a user's file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One hostile input.

    Attributes:
        name: unique in its module, such as ``9-bytes-of-4-gigabytes``.
        entry_point: opens the file. A value or an expected error is an answer, any other
            exception is a fault. It runs in its own process, forked after the import of the case's module, so
            imports are not measured.
        write: writes the input into an empty folder; returns the path for ``entry_point``.
        quick: small enough for the tests.
    """

    name: str
    entry_point: Callable[[Path], object]
    write: Callable[[Path], Path]
    quick: bool = True


def writes(name: str, text: Callable[[], str]) -> Callable[[Path], Path]:
    """A case's ``write`` for a text; surrogates are kept."""

    def write(folder: Path) -> Path:
        path = folder / name
        path.write_text(text(), encoding="utf-8", errors="surrogatepass")
        return path

    return write


def read(path: Path) -> str:
    """Read a file of :func:`writes`."""
    return path.read_text(encoding="utf-8", errors="surrogatepass")
