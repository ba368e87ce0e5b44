"""Folders for caches: beside their data, or in the system's cache folder."""

import hashlib
import os
import sys
from pathlib import Path

VARIABLE = "UNIID_CACHE"
"""The environment variable that names a folder instead of the system's."""


def cache_folder() -> Path:
    """The user's cache folder; it need not exist."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    home = Path.home()
    return {
        "win32": Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "uniid" / "cache",
        "darwin": home / "Library" / "Caches" / "uniid",
    }.get(sys.platform, Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "uniid")


def beside(folder: Path) -> Path:
    """``folder`` if it is writable, otherwise its own folder in the user's cache folder."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return folder
    digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    return cache_folder() / f"{folder.name}-{digest}"
