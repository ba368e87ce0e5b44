"""Files that are whole or not there, folders that one program at a time writes, and the digest of bytes."""

import hashlib
import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib_uniid.errors import ConfigError, FileError
from lib_uniid.failures import sentence

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted anyway
    fcntl = None

ABANDONED = 3600.0
"""Seconds after which a temporary file is taken for abandoned, where files have no locks."""
PATIENCE = 30.0
"""Seconds to wait for another program that writes; it takes milliseconds, unless its process is stopped."""


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """Give a temporary path in the same folder to write to; it becomes ``path`` if nothing was raised.

    Readers see the old file or the new one, never half of it, and also after a power failure. Only the
    owner may read it. Nothing is left behind after an error, and what a killed writer left in this folder
    is removed. Raises ``OSError``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(path.parent)
    handle, temporary = _claimed(path)
    try:
        yield temporary
        _to_disk(temporary)
        if fcntl is None:
            os.close(handle)
            handle = None
        move(temporary, path)
    finally:
        if handle is not None:
            os.close(handle)
        temporary.unlink(missing_ok=True)


def remove_stale(folder: Path) -> None:
    """Remove what killed writers of :func:`replacing` left in a folder; a living one keeps its file."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(".part"):
                with suppress(OSError):  # of a living writer, gone already, or in a folder that is read-only
                    _remove_unclaimed(entry.path)


@contextmanager
def exclusive(lock: Path) -> Generator[None, None, None]:
    """Only one thread of one program at a time gets in; the others wait for :data:`PATIENCE` seconds.

    ``lock`` is a file that stays; its folder has to be there. It counts between programs of one machine,
    and on network drives that keep locks. A killed program holds none. Raises ``ConfigError`` when the
    wait was in vain, ``OSError`` where the folder is read-only.
    """
    from filelock import FileLock, Timeout

    held = FileLock(str(lock), timeout=PATIENCE)
    try:
        held.acquire()
    except Timeout as error:
        raise ConfigError(
            f"{lock.parent} has been written by another program for {PATIENCE:.0f} seconds; "
            "wait for it or end it, then try again"
        ) from error
    except NotImplementedError as error:
        raise ConfigError(
            f"the drive of {lock.parent} keeps no locks; use a folder on another one"
        ) from error
    try:
        yield
    finally:
        held.release()


def require_writable(folder: Path) -> None:
    """Try whether files can be written into ``folder``, or into the one in which it would be made.

    Nothing is left behind. Raises ``FileError`` that says what is in the way.
    """
    try:
        there = _nearest(folder)
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        # Named by the folder, because the probe has a random name.
        raise FileError(sentence(OSError(error.errno, error.strerror, str(folder)))) from error


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    for path in (folder, *folder.parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
            return path
    return Path()


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner may read, where there is none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def move(source: Path, target: Path) -> None:
    """Rename a file, in the place of one that may be there; a power failure does not undo it."""
    for _ in range(100 if fcntl is None else 0):  # on Windows a file that is being read cannot be moved
        with suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(0.02)
    source.replace(target)
    if fcntl is not None:
        _to_disk(target.parent)


def _claimed(path: Path) -> tuple[int, Path]:
    """A new file and its handle, which keeps :func:`remove_stale` from it for as long as it is open."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
        if fcntl is not None:
            with suppress(OSError):  # a drive without locks: there nothing is ever removed
                fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # removed between the two lines above


def _remove_unclaimed(path: str) -> None:
    if fcntl is None:  # no lock says that a writer lives: one that waits for a reader has closed its file
        if time.time() - os.stat(path).st_mtime > ABANDONED:
            os.unlink(path)
        return
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)


def _to_disk(path: Path) -> None:
    """Make sure that a file's bytes, or a folder's list of files, are on the disk."""
    folder = path.is_dir()
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        if not folder:  # some drives do not sync folders
            raise
    finally:
        os.close(handle)
