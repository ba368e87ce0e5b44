"""The methods there are, by name. Imports nothing heavy until one is opened."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.methods.method import Method, Open


def _uniportrait(folder: "ModelFolder", notify: Callable[[str], None]) -> "Method":
    from lib_uniid.methods.uniportrait.method import UniPortrait

    return UniPortrait.open(folder, notify)


METHODS: "Mapping[str, Open]" = {"UniPortrait": _uniportrait}
DEFAULT = next(iter(METHODS))
