"""What was found out about files, kept by path, size and time, so that each is looked into once."""

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

SCHEMA = f"{__version__}/4"
"""The number rises with what is found out: formats, families, the reading itself."""

SETTLED = 2.0
"""Seconds; a file that is younger may change again within the resolution of its time."""

MAX_FILES, MAX_BYTES = 50_000, 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Of one file: the row of ``sources`` that it is of, what it seems to be, and why it cannot be used.

    ``unchecked`` says which of its values were not looked at.
    """

    name: str | None
    kind: str
    problem: str | None = None
    unchecked: str | None = None


@dataclass(slots=True, kw_only=True)
class Notebook:
    """Findings in a file of the user's cache folder; damaged or not writable, it is as if it were empty.

    What one notebook has looked up or found it does not look up again. ``kinds`` are the names of the
    formats that files are compared with: with other plugins files are looked into again.
    """

    kinds: tuple[str, ...] = ()

    path: Path = field(default_factory=lambda: cache_folder() / "models.json")
    _pages: dict[str, Any] | None = None
    _now: dict[str, Finding] = field(default_factory=dict[str, Finding])
    _changed: bool = False

    def known(self, path: Path, what: str = "") -> Finding | None:
        """What was noted of the file as it is now; ``what`` tells several findings of one file apart."""
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
        """What is known of a file, or what ``find`` says of it now."""
        known = self.known(path, what)
        if known is not None:
            return known
        finding = self._now[f"{path.absolute()}{what}"] = find(path)
        with suppress(OSError):
            stamp = _stamp(path)
            if abs(time.time() - stamp[1] / 1e9) > SETTLED:
                self._read()[f"{path.absolute()}{what}"] = [stamp, asdict(finding)]
                self._changed = True
        return finding

    def save(self) -> None:
        """Keep what was found out; without room or permission it is found out again."""
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
        if self._pages is None:
            self._pages = _pages(self.path, self._schema)
        return self._pages


def _pages(path: Path, schema: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        kept = json.loads(path.read_text(encoding="utf-8"))
        return dict(kept["pages"]) if kept["schema"] == schema else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _stamp(path: Path) -> list[int]:
    """Size, time and number of a file; a replaced one has another number."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ino]
