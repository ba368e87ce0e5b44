"""A cache of findings about files by path, size and time, so that each file is read once."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lib_uniid import __version__
from lib_uniid.caches import cache_folder
from lib_uniid.files import replacing

SCHEMA = f"{__version__}/5"
"""The number increases with every change of formats, families or the reading."""

STABLE_AFTER = 2.0
"""Seconds; a younger file may change again within the resolution of its time stamp."""

MAX_FILES, MAX_BYTES = 50_000, 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """About one file: its row of ``sources``, its probable type, and why it cannot be used.

    ``unchecked`` names the values that were not checked.
    """

    name: str | None
    kind: str
    problem: str | None = None
    unchecked: str | None = None


@dataclass(slots=True, kw_only=True)
class FindingCache:
    """Findings in a file of the user's cache folder; a damaged or unwritable file counts as empty.

    Findings are also kept in memory. ``kinds`` are the names of the registered formats; with other plugins,
    files are read again.
    """

    kinds: tuple[str, ...] = ()

    path: Path = field(default_factory=lambda: cache_folder() / "models.json")
    _entries: dict[str, Any] | None = None
    _now: dict[str, Finding] = field(default_factory=dict[str, Finding])
    _changed: bool = False

    def known(self, path: Path, what: str = "") -> Finding | None:
        """The stored finding, if the file is unchanged; ``what`` distinguishes findings of one file."""
        key = f"{path.absolute()}{what}"
        if key in self._now:
            return self._now[key]
        page = self._read().get(key)
        try:
            return Finding(**page[1]) if page and page[0] == _stamp(path) else None
        except (OSError, TypeError, KeyError, IndexError):
            return None

    def is_noted(self, path: Path) -> bool:
        """Whether what was found out of the file is of the file as it is now, beyond doubt."""
        page = self._read().get(str(path.absolute()))
        try:
            return bool(page) and page[0] == _stamp(path)
        except (OSError, TypeError, KeyError, IndexError):
            return False

    def look(self, path: Path, find: Callable[[Path], Finding], what: str = "") -> Finding:
        """The stored finding of a file, or the result of ``find``."""
        known = self.known(path, what)
        if known is not None:
            return known
        finding = self._now[f"{path.absolute()}{what}"] = find(path)
        with suppress(OSError):
            stamp = _stamp(path)
            if abs(time.time() - stamp[1] / 1e9) > STABLE_AFTER:
                self._read()[f"{path.absolute()}{what}"] = [stamp, asdict(finding)]
                self._changed = True
        return finding

    def save(self) -> None:
        """Store the findings; without space or permission they are not kept."""
        if not self._changed:
            return
        pages = dict(list(self._read().items())[-MAX_FILES:])
        with suppress(OSError, ValueError), replacing(self.path) as temporary:
            temporary.write_text(json.dumps({"schema": self._schema, "pages": pages}), encoding="utf-8")
        self._changed = False

    @property
    def _schema(self) -> str:
        return "/".join((SCHEMA, *self.kinds))

    def _read(self) -> dict[str, Any]:
        if self._entries is None:
            self._entries = _stored(self.path, self._schema)
        return self._entries


def _stored(path: Path, schema: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        kept = json.loads(path.read_text(encoding="utf-8"))
        return dict(kept["pages"]) if kept["schema"] == schema else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _stamp(path: Path) -> list[int]:
    """Size, time and inode number of a file; a replaced file has another number."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ino]
