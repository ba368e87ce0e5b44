"""The methods that plugins registered. Imports nothing heavy until one is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_uniid.bases import Base
from lib_uniid.errors import ConfigError
from lib_uniid.plugins import Registered, plugins

if TYPE_CHECKING:
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.methods.method import Method
else:
    ModelFolder = Method = Any

Open = Callable[[ModelFolder, Callable[[str], None]], Method]
"""Opens a method's networks; the function that it is given is told what is being loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodDeclaration:
    """A way to inject identities.

    Attributes:
        name: in requests, infotexts and lists.
        bases: families of base models that it works with.
        encoder: the ID encoder whose features it reads.
        open: loads its networks.
    """

    name: str
    bases: tuple[Base, ...]
    encoder: str
    open: Open


def methods() -> Mapping[str, Registered[MethodDeclaration]]:
    """By name; the first is taken where a request names none."""
    return plugins().registered("register_methods", MethodDeclaration)


def default() -> str:
    """The method that is taken where a request names none."""
    return next(iter(methods()))


def require(name: str | None) -> Registered[MethodDeclaration]:
    """The method of this name, or the default one; ``ConfigError`` where there is none of the name."""
    known = methods()
    if name is not None and name not in known:
        off = "".join(f"; {sentence}" for sentence in plugins().off.values())
        raise ConfigError(f"the method must be one of {', '.join(known)}, got {name!r}{off}")
    return known[default() if name is None else name]


def require_base(method: MethodDeclaration, base: Base) -> None:
    """``ConfigError`` where the method does not work with base models of this family."""
    if base not in method.bases:
        wanted = " or ".join(one.title for one in method.bases)
        raise ConfigError(
            f"the method {method.name} works with {wanted}, and the base model is {base.title}; "
            "choose another checkpoint or another method"
        )
