"""Downloads of model files at a user's request: resumed, checked and atomic.

This module uses only the standard library, so it works in any host. ``HF_ENDPOINT`` names a mirror of the
hub; if ``UNIID_OFFLINE`` or ``HF_HUB_OFFLINE`` is set, no connection is made.
"""

import json
import os
import re
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from lib_uniid.checkpoints.opcodes import BoundedReader, PickleError
from lib_uniid.checkpoints.pickled import MAX_DIRECTORY
from lib_uniid.checkpoints.sources import Piece, Source
from lib_uniid.errors import DownloadError
from lib_uniid.files import replacing, sha256

HUB = "https://huggingface.co"
SECONDS = 30
"""Seconds without data before a connection counts as failed."""
BLOCK = 2**20
MAX_MEMBER = 2**29
"""Bytes of a file in an archive; the largest needed one has 174 MB."""

MAX_BYTES = 2**33
"""Bytes of a downloaded file; the largest published one has 2.5 GB."""

SPARE = 2**28
"""Bytes to leave free on the disk."""

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes so far, and the total if known. An error raised by it stops the
download; the received part is kept for the next try."""


def no_progress(name: str, done: int, size: int | None) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """A server's response headers for a file."""

    begins: int
    size: int | None
    etag: str | None
    sha256: str | None


def offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user forbids downloads; UniID's variable takes precedence."""
    value = environment.get("UNIID_OFFLINE") or environment.get("HF_HUB_OFFLINE") or ""
    return value.strip().lower() in {"1", "true", "yes", "on"}


def address(piece: Piece, source: Source, environment: Mapping[str, str] = os.environ) -> str:
    """The URL of a piece."""
    if piece.url is not None:
        return piece.url
    endpoint = (environment.get("HF_ENDPOINT") or HUB).rstrip("/")
    return f"{endpoint}/{source.repository}/resolve/main/{piece.path}"


def fetch(
    source: Source,
    root: Path,
    *,
    damaged: bool = False,
    progress: Progress = no_progress,
    environment: Mapping[str, str] = os.environ,
) -> list[Path]:
    """Download all missing files of a row of ``sources`` into its folder; returns their paths.

    ``damaged`` replaces existing files.

    Raises ``DownloadError``: offline, nothing to download, no connection, refused, no disk space, or a file
    that is not the published one. The received part is kept, and the next try continues from there.
    """
    if not source.repository:
        raise DownloadError(
            f"{source.name} is not published; train it, and put it into {root / source.placed}"
        )
    if not source.pieces:
        raise DownloadError(
            f"{source.name} cannot be downloaded automatically; download {source.path} manually"
        )
    if offline(environment):
        raise DownloadError(
            "downloads are off while UNIID_OFFLINE or HF_HUB_OFFLINE is set; unset it, or put "
            f"{source.path} from {source.repository} into {root / source.placed} manually"
        )
    got: list[Path] = []
    for piece in source.pieces:
        folder = root / source.placed
        paths = [folder / name for name in piece.members or (piece.name,)]
        if damaged or not all(path.exists() for path in paths):
            _get(address(piece, source, environment), folder / piece.name, piece, progress)
        got += paths
    return got


def _get(url: str, target: Path, piece: Piece, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    answer = _transfer(url, part, target.name, progress)
    wanted = piece.sha256 or answer.sha256
    found = sha256(part)
    if wanted is not None and found != wanted:
        _forget(part)
        raise DownloadError(
            f"{target.name} from {url} is not the published file: its sha256 is {found}, not {wanted}; "
            "try again, or use another source"
        )
    if piece.members:
        _unpack(part, target.parent, piece)
        _forget(part)
    else:
        part.replace(target)
        _note(part).unlink(missing_ok=True)


def _transfer(url: str, part: Path, name: str, progress: Progress) -> _Answer:
    """Complete ``part``; an existing part is continued if the server's file is unchanged."""
    have = part.stat().st_size if part.is_file() else 0
    kept = _kept(part, url) if have else None
    try:
        opened, linked = _opened(url, have if kept else 0, kept)
        with opened as response:
            answer = _read_head(response, linked)
            _require_room(part.parent, name, answer)
            _note(part).write_text(json.dumps({"url": url, "etag": answer.etag}), encoding="utf-8")
            done = answer.begins
            with part.open("r+b" if done else "wb") as file:
                file.seek(done)
                file.truncate()
                while block := response.read(BLOCK):
                    file.write(block)
                    done += len(block)
                    progress(name, done, answer.size)
                    if done > MAX_BYTES:  # the server did not state a length
                        _forget(part)
                        raise DownloadError(_too_large(name, done))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send, or the file has changed
            _forget(part)
        raise DownloadError(_refused(url, error.code)) from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an invalid address or length
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"{url} cannot be reached ({reason}); check the connection and try again"
        ) from error
    if answer.size is not None and done != answer.size:
        raise DownloadError(
            f"the download of {name} stopped after {done} of {answer.size} bytes; try again to continue"
        )
    return answer


def _opened(url: str, begin: int, etag: str | None) -> tuple[Any, str | None]:
    """The response, and the checksum that a redirect stated."""
    headers = {"User-Agent": "uniid", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
        if etag:
            headers["If-Range"] = etag
    request = urllib.request.Request(url, headers=headers)
    if request.type not in {"http", "https"}:
        raise DownloadError(f"{url} is not an https address; HF_ENDPOINT must begin with https://")
    redirects = _Redirects()
    response = urllib.request.build_opener(redirects).open(request, timeout=SECONDS)
    return response, redirects.linked


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps the hub's headers for a file before the redirect to the file's server."""

    linked: str | None = None

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.linked = self.linked or headers.get("X-Linked-Etag")
        if req.type == "https" and not newurl.startswith("https://"):
            raise DownloadError(
                f"{req.full_url} redirects to {newurl}, which is not encrypted; download the file manually"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read_head(response: Any, linked: str | None) -> _Answer:
    headers = response.headers
    begins, size = 0, headers.get("Content-Length")
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        if found is None:
            raise DownloadError(f"{response.url} sent a part without its range; try again later")
        begins, size = int(found[1]), found[2]
    stated = str(linked or headers.get("X-Linked-Etag") or "").strip(
        '"'
    )  # the hub's checksum of a large file
    return _Answer(
        begins=begins,
        size=None if size is None else int(size),
        etag=headers.get("ETag"),
        sha256=stated if re.fullmatch(r"[0-9a-f]{64}", stated) else None,
    )


def _unpack(archive: Path, folder: Path, piece: Piece) -> None:
    """Extract the needed members of a zip archive: limited in size, checked, and with our file names."""
    try:
        with BoundedReader(archive, MAX_DIRECTORY) as file, zipfile.ZipFile(file) as opened:
            file.left = archive.stat().st_size
            inside = {Path(entry.filename).name: entry for entry in opened.infolist()}
            for name, wanted in piece.members.items():
                _extract(opened, inside.get(name), folder / name, wanted)
    except DownloadError:
        _forget(archive)
        raise
    except (
        zipfile.BadZipFile,
        PickleError,
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        zlib.error,
    ) as error:
        _forget(archive)
        raise DownloadError(f"{archive.name} cannot be unpacked ({error}); try again") from error


def _extract(opened: zipfile.ZipFile, entry: zipfile.ZipInfo | None, target: Path, wanted: str) -> None:
    if entry is None:
        raise DownloadError(_not_published(target.name, "nothing", wanted))
    if entry.file_size > MAX_MEMBER:
        raise DownloadError(_not_published(target.name, f"a file of {entry.file_size} bytes", wanted))
    with replacing(target) as temporary:
        with opened.open(entry) as packed, temporary.open("wb") as file:
            shutil.copyfileobj(packed, file, BLOCK)  # zipfile returns at most the size that the entry states
        digest = sha256(temporary)
        if digest != wanted:
            raise DownloadError(_not_published(target.name, f"sha256 {digest}", wanted))


def _not_published(name: str, found: str, wanted: str) -> str:
    return (
        f"{name} is not the published file: got {found}, expected sha256 {wanted}; "
        "download it from another source"
    )


def _note(part: Path) -> Path:
    """The file that records the origin of a part."""
    return part.with_name(f"{part.name}.json")


def _kept(part: Path, url: str) -> str | None:
    """The ETag of a part's file; None if the part cannot be continued."""
    try:
        noted = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted["etag"] if noted.get("url") == url and noted.get("etag") else None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _require_room(folder: Path, name: str, answer: _Answer) -> None:
    if (answer.size or 0) > MAX_BYTES:
        raise DownloadError(_too_large(name, answer.size))
    size = (answer.size or 0) - answer.begins
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise DownloadError(
            f"{size / 1e9:.1f} GB do not fit into {folder}: {free / 1e9:.1f} GB are free; free some space"
        )


def _too_large(name: str, size: int | None) -> str:
    return f"{name} is not the published file: it has {size} bytes or more; download it from another source"


def _refused(url: str, code: int) -> str:
    if code in (401, 403):
        return f"{url} is restricted (HTTP {code}); accept its licence there and download it manually"
    if code == 404:
        return f"{url} was not found (HTTP 404); it may have moved, download it manually"
    return f"{url} was refused (HTTP {code}); try again later"
