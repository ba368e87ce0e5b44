"""The search for candidate files in a models folder, safe against loops of links."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from lib_uniid.checkpoints.sources import sources

WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt"})
DIFFUSERS_INDEX = "model_index.json"
MAX_DEPTH, MAX_FOLDERS, MAX_ENTRIES = 6, 20_000, 200_000


def candidates(root: Path) -> Iterator[Path]:
    """Folders and weights files below ``root``; each folder once, even if several links lead to it.

    The usual folders of the registered files are searched first, so that these are found within the limits.
    A diffusers folder is one candidate, not its parts. Unreadable folders are skipped.
    """
    first = {name for row in sources() for name in (*PurePosixPath(row.placed).parts[:1], *row.folders)}
    seen, entries = set[tuple[int, int]](), 0
    pending = [(root, 0)]
    while pending and len(seen) < MAX_FOLDERS and entries < MAX_ENTRIES:
        folder, depth = pending.pop()
        if not _is_new(folder, seen):
            continue
        yield folder
        if os.path.isfile(folder / DIFFUSERS_INDEX):
            continue
        files, folders = _children(folder, MAX_ENTRIES - entries)
        folders.sort(key=lambda path: (path.name not in first, path))
        entries += len(files) + len(folders)
        yield from files
        if depth < MAX_DEPTH:
            pending += [(child, depth + 1) for child in reversed(folders)]


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        status = folder.stat()
    except OSError:
        return False
    key = (status.st_dev, status.st_ino)
    if key in seen and status.st_ino:  # 0 on systems without inode numbers
        return False
    seen.add(key)
    return True


def _children(folder: Path, most: int) -> tuple[list[Path], list[Path]]:
    """Weights files, sorted, and folders."""
    files, folders = list[Path](), list[Path]()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(most), strict=False):
            path = folder / entry.name
            # os.path returns False for an entry that cannot be read: a link to itself, no permission.
            if not entry.name.startswith(".") and os.path.isdir(path):
                folders.append(path)
            elif path.suffix.lower() in WEIGHTS and os.path.isfile(path):
                files.append(path)
    return sorted(files), folders
