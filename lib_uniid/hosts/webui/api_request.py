"""Reads what an API client sent under UniID's name: the host passes on ``args`` only."""

import inspect
from types import FrameType
from typing import Any

from lib_uniid.errors import ConfigError

API = "modules.api.api"
"""The host's module whose functions hold a request during its generation."""

EXAMPLE = '{"args": [{"version": 1, "people": [{"name": "Anna"}]}]}'
NO_PEOPLE = (
    "the request has UniID without people: its args are empty or have default values, so the picture is "
    f"generated without identities; write {EXAMPLE}"
)


def empty_request_note(p: Any, title: str) -> str | None:
    """A note for a request with an empty entry for the script ``title``; None without such an entry.

    Raises ``ConfigError`` if the entry has keys that the host does not read.
    """
    if not getattr(p, "is_api", False):
        return None
    given = _entry(_scripts(inspect.currentframe()), title)
    if given is None:
        return None
    if isinstance(given[0], dict) and set(given[0]) <= {"args"}:
        return NO_PEOPLE
    if not given[0]:
        return NO_PEOPLE
    shown = f"the keys {', '.join(map(repr, given[0]))}" if isinstance(given[0], dict) else "no object"
    raise ConfigError(
        f"alwayson_scripts.{title} must have the key args and no other, got {shown}; write {EXAMPLE}"
    )


def _entry(scripts: dict[Any, Any], title: str) -> tuple[Any] | None:
    return next(
        ((value,) for name, value in scripts.items() if str(name).lower() == title.lower()),
        None,
    )


def _scripts(frame: FrameType | None) -> dict[Any, Any]:
    """``alwayson_scripts`` of the current request; empty if none is found."""
    while frame is not None:
        if frame.f_globals.get("__name__") == API:
            for value in list(frame.f_locals.values()):
                found = getattr(value, "alwayson_scripts", None)
                if isinstance(found, dict):
                    return found
        frame = frame.f_back
    return {}
