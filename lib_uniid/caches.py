"""Where to keep what can be made again: beside what it belongs to, or in the system's folder for caches."""

import hashlib
import os
import sys
from pathlib import Path

VARIABLE = "UNIID_CACHE"
"""Names the folder in the place of the system's."""


def cache_folder() -> Path:
    """Of this user; need not exist."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    home = Path.home()
    return {
        "win32": Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "uniid" / "cache",
        "darwin": home / "Library" / "Caches" / "uniid",
    }.get(sys.platform, Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "uniid")


def beside(folder: Path) -> Path:
    """``folder`` where it can be written to, otherwise a folder for it alone in the user's cache folder."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return folder
    digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    return cache_folder() / f"{folder.name}-{digest}"
