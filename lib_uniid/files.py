"""Atomic writes, folders with one writer at a time, and digests of files."""

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
except ImportError:  # Windows, which does not delete an open file
    fcntl = None

ABANDONED = 3600.0
"""Seconds after which a temporary file counts as abandoned, on systems without file locks."""
PATIENCE = 30.0
"""Seconds to wait for another writer; a write takes milliseconds, unless the process is suspended."""


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """Yield a temporary path in the same folder; it is renamed to ``path`` unless an error is raised.

    Readers see the old file or the new one, never a part of it, even after a power failure. Only the owner
    may read it. An error leaves no temporary file, and temporary files of killed writers in this folder
    are removed. Raises ``OSError``.
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
    """Remove temporary files of killed writers of :func:`replacing`; running writers keep theirs."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(".part"):
                with suppress(OSError):  # in use, removed already, or in a read-only folder
                    _remove_unclaimed(entry.path)


@contextmanager
def exclusive(lock: Path) -> Generator[None, None, None]:
    """Admit one thread of one program at a time; others wait for up to :data:`PATIENCE` seconds.

    ``lock`` is a permanent file; its folder must exist. The lock holds between programs of one machine,
    and on network drives that support locks. A killed program releases it. Raises ``ConfigError`` after the
    wait, ``OSError`` if the folder is read-only.
    """
    from filelock import FileLock, Timeout

    held = FileLock(str(lock), timeout=PATIENCE)
    try:
        held.acquire()
    except Timeout as error:
        raise ConfigError(
            f"another program has been writing to {lock.parent} for {PATIENCE:.0f} seconds; "
            "wait for it or end it, then try again"
        ) from error
    except NotImplementedError as error:
        raise ConfigError(
            f"the drive of {lock.parent} does not support file locks; use a folder on another drive"
        ) from error
    try:
        yield
    finally:
        held.release()


def require_writable(folder: Path) -> None:
    """Check that files can be written into ``folder``, or into the nearest existing folder above it.

    The probe file is removed. Raises ``FileError`` with the reason.
    """
    try:
        there = _nearest(folder)
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        # The error names the folder, because the probe has a random name.
        raise FileError(sentence(OSError(error.errno, error.strerror, str(folder)))) from error


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest existing one above it."""
    for path in (folder, *folder.parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
            return path
    return Path()


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner may read, unless it exists."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def move(source: Path, target: Path) -> None:
    """Rename a file and replace an existing one; the change survives a power failure."""
    for _ in range(100 if fcntl is None else 0):  # on Windows a file that is being read cannot be moved
        with suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(0.02)
    source.replace(target)
    if fcntl is not None:
        _to_disk(target.parent)


def _claimed(path: Path) -> tuple[int, Path]:
    """A new file and its handle; while the handle is open, :func:`remove_stale` keeps the file."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
        if fcntl is not None:
            with suppress(OSError):  # a drive without locks, where stale files stay
                fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # another process removed it between the two lines above


def _remove_unclaimed(path: str) -> None:
    if fcntl is None:  # without locks, age decides: a writer that waits for a reader has closed its file
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
    """Flush a file's bytes, or a folder's list of files, to the disk."""
    folder = path.is_dir()
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        if not folder:  # some drives do not sync folders
            raise
    finally:
        os.close(handle)
