"""The stable API for plugins: the registration, and the values to register.

The hooks are in :mod:`lib_uniid.hookspecs`. Another extension may import this module when the WebUI starts,
so it imports nothing heavy.
"""

from lib_uniid.bases import SD15, SD21, SDXL, Base, TextEncoder, UNetShape
from lib_uniid.checkpoints.format import Format, Names
from lib_uniid.checkpoints.sources import Piece, Source
from lib_uniid.declarations import Direction, FaceDetector, IDEncoderDeclaration, Scorer
from lib_uniid.methods.registry import MethodDeclaration, MethodNumber
from lib_uniid.plugins import plugins

__all__ = [
    "SD15",
    "SD21",
    "SDXL",
    "Base",
    "Direction",
    "FaceDetector",
    "Format",
    "IDEncoderDeclaration",
    "MethodDeclaration",
    "MethodNumber",
    "Names",
    "Piece",
    "Scorer",
    "Source",
    "TextEncoder",
    "UNetShape",
    "register",
]


def register(plugin: object, *, name: str, needs: str = "") -> None:
    """Add a plugin; a plugin of the same name is replaced.

    Its hooks are called when they are first needed. An exception in a hook switches the plugin off, and the
    panel, ``uniid plugins`` and ``uniid doctor`` show that.

    Args:
        plugin: a module or an object whose functions have the names of hooks.
        name: the plugin's name in messages.
        needs: the versions of UniID that it supports, such as ">=0.1,<1".

    Raises:
        PluginError: a built-in plugin has this name.
    """
    plugins().register(plugin, name=name, needs=needs)
