"""What a plugin may rely on: how it is registered, and the values that it registers.

The hooks are in :mod:`lib_uniid.hookspecs`. Light: another extension imports this when the WebUI starts.
"""

from lib_uniid.bases import SD15, Base
from lib_uniid.checkpoints.format import Format, Names
from lib_uniid.checkpoints.sources import Piece, Source
from lib_uniid.declarations import Direction, FaceDetector, IDEncoderDeclaration, Scorer
from lib_uniid.methods.registry import MethodDeclaration
from lib_uniid.plugins import plugins

__all__ = [
    "SD15",
    "Base",
    "Direction",
    "FaceDetector",
    "Format",
    "IDEncoderDeclaration",
    "MethodDeclaration",
    "Names",
    "Piece",
    "Scorer",
    "Source",
    "register",
]


def register(plugin: object, *, name: str, needs: str = "") -> None:
    """Add a module or an object whose functions are hooks; one of the same name is replaced.

    Its hooks are called when they are first needed. What they raise switches the plugin off; the panel,
    ``uniid plugins`` and ``uniid doctor`` say so.

    Args:
        plugin: with functions named as hooks.
        name: in those sentences.
        needs: the versions of UniID that it works with, such as ">=0.1,<1".

    Raises:
        PluginError: the name is that of a built-in plugin.
    """
    plugins().register(plugin, name=name, needs=needs)
