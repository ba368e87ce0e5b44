"""Names of people: one normal form and one set of limits for all interfaces.

Only the standard library is used here, because this is imported when the WebUI starts.
"""

import re
import unicodedata

from lib_uniid.errors import ConfigError

MAX_NAME = 200
"""Characters, in normal form."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|pictures-[0-9a-f]+")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"
"""Invisible, but part of words in some scripts and of many emoji."""


def normal(name: str) -> str:
    """The form in which names are compared and stored: Unicode NFC, stripped, case unchanged."""
    return unicodedata.normalize("NFC", name).strip()


def checked(name: str, kind: str = "a person's name") -> str:
    """The normal form of a new name for a person.

    Raises ``ConfigError`` for a name that is empty, longer than :data:`MAX_NAME`, contains an invisible
    character (control, direction, zero width) or an equals sign (the command line's NAME=PICTURE), or has the
    form of an id.
    """
    name = normal(name)
    if not 0 < len(name) <= MAX_NAME:
        raise ConfigError(
            f"{kind} must have 1 to {MAX_NAME} characters, got {len(name)}; choose another name"
        )
    hidden = [one for one in name if unicodedata.category(one) in _INVISIBLE and one not in _JOINERS]
    if hidden:
        raise ConfigError(
            f"{kind} must not contain the invisible character U+{ord(hidden[0]):04X}; remove it"
        )
    if "=" in name:
        raise ConfigError(f"{kind} must not contain an equals sign, got {name!r}; choose another name")
    if is_id(name):
        raise ConfigError(f"{kind} must not have the form of an id, got {name!r}; choose another name")
    return name


def is_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None
