"""What a client of the API wrote under our script's name. The host hands on ``args`` alone."""

import inspect
from types import FrameType
from typing import Any

from lib_uniid.errors import ConfigError

API = "modules.api.api"
"""The host's module whose functions hold a request while its picture is made."""

EXAMPLE = '{"args": [{"version": 1, "people": [{"name": "Anna"}]}]}'
NOTHING = (
    "the request names UniID and asks for no one: its args are empty or at rest, so the picture is made "
    f"without identities; write {EXAMPLE}"
)


def nothing_asked(p: Any, title: str) -> str | None:
    """What to say of a request that names the script ``title`` and gives it nothing; None without a name.

    Raises ``ConfigError`` where something stands there that the host does not read.
    """
    if not getattr(p, "is_api", False):
        return None
    given = _entry(_scripts(inspect.currentframe()), title)
    if given is None:
        return None
    if isinstance(given[0], dict) and set(given[0]) <= {"args"}:
        return NOTHING
    if not given[0]:
        return NOTHING
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
    """``alwayson_scripts`` of the request that is being answered; empty where none is found."""
    while frame is not None:
        if frame.f_globals.get("__name__") == API:
            for value in list(frame.f_locals.values()):
                found = getattr(value, "alwayson_scripts", None)
                if isinstance(found, dict):
                    return found
        frame = frame.f_back
    return {}
