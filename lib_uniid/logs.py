"""The log file: unexpected failures, for bug reports.

It holds tracebacks and versions, and no picture data. It is rotated at 1 MB, two old files are kept, and only
its owner can read it.
"""

import logging
import os
import platform
import re
import sys
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path

from lib_uniid import __version__
from lib_uniid.printing import shortened, visible

MAX_BYTES, OLD_FILES = 2**20, 2
LONGEST_LINE = 500
_DATA = re.compile(r"[A-Za-z0-9+/=_-]{120,}|(?:\\x[0-9a-f]{2}){16,}")
"""A run of base64 or of escaped bytes: it may be a picture."""


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Raise the error, such as a full disk, instead of printing it."""
        raise


def log_file() -> Path:
    """The log file in the user's log folder of this system."""
    home = Path.home()
    folder = {
        "win32": Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "uniid" / "logs",
        "darwin": home / "Library" / "Logs" / "uniid",
    }.get(sys.platform, Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "uniid")
    return folder / "uniid.log"


def record(error: BaseException, doing: str = "") -> Path | None:
    """Append the traceback of ``error`` to the log file; None if it cannot be written.

    ``doing`` names the action in a word or two, such as ``uniid generate``.
    """
    path = log_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        handler = _File(path, maxBytes=MAX_BYTES, backupCount=OLD_FILES, encoding="utf-8")
    except OSError:
        return None
    try:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.emit(logging.makeLogRecord({"msg": _report(error, doing)}))
    except OSError:
        return None
    finally:
        handler.close()
    return path


def _report(error: BaseException, doing: str) -> str:
    head = f"uniid {__version__}, Python {platform.python_version()}, {platform.platform()}: {doing}"
    text = "".join(traceback.format_exception(error))
    lines = [shortened(visible(_DATA.sub("<data>", line)), LONGEST_LINE) for line in text.splitlines()]
    return "\n".join([head, *lines, ""])
