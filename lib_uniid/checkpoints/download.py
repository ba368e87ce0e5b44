"""Getting model files, when a user says so: resumed where it stopped, checked, whole or not there.

Only the standard library is used, so that it works in any host. ``HF_ENDPOINT`` names a mirror of the hub;
with ``UNIID_OFFLINE`` or ``HF_HUB_OFFLINE`` set nothing is asked of the network.
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

from lib_uniid.checkpoints.opcodes import Frugal, PickleError
from lib_uniid.checkpoints.pickled import MAX_DIRECTORY
from lib_uniid.checkpoints.sources import Piece, Source
from lib_uniid.errors import DownloadError
from lib_uniid.files import replacing, sha256

HUB = "https://huggingface.co"
SECONDS = 30
"""Without a byte, until a server is given up."""
BLOCK = 2**20
MAX_MEMBER = 2**29
"""Bytes of a file in an archive; the largest that is wanted has 174 MB."""

MAX_BYTES = 2**33
"""Of a file that is fetched; the largest that is published has 2.5 GB."""

SPARE = 2**28
"""Bytes that stay free on the disk."""

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, its bytes so far, and in all where known. Raising from it stops; what was
fetched is kept for the next time."""


def no_progress(name: str, done: int, size: int | None) -> None:
    """Progress that is not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a server says of a file before it sends it."""

    begins: int
    size: int | None
    etag: str | None
    sha256: str | None


def offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user wants nothing fetched; our own variable wins, where it is set."""
    said = environment.get("UNIID_OFFLINE") or environment.get("HF_HUB_OFFLINE") or ""
    return said.strip().lower() in {"1", "true", "yes", "on"}


def address(piece: Piece, source: Source, environment: Mapping[str, str] = os.environ) -> str:
    """Where a piece is fetched from."""
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
    """Get everything of a row of ``sources`` that is not there; the paths, in the folder where it belongs.

    ``damaged`` says that what is there is to be replaced.

    Raises ``DownloadError``: offline, nothing to fetch, no connection, refused, no room, or a file that is
    not the published one. What came so far of it is kept, and the next try goes on from there.
    """
    if not source.pieces:
        raise DownloadError(f"{source.name} cannot be fetched from here; get {source.path} by hand")
    if offline(environment):
        raise DownloadError(
            "nothing is fetched while UNIID_OFFLINE or HF_HUB_OFFLINE is set; unset it, or put "
            f"{source.path} from {source.repository} into {root / source.placed} by hand"
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
            "try again, or from another place"
        )
    if piece.members:
        _unpack(part, target.parent, piece)
        _forget(part)
    else:
        part.replace(target)
        _note(part).unlink(missing_ok=True)


def _transfer(url: str, part: Path, name: str, progress: Progress) -> _Answer:
    """Bring ``part`` to the full length; it goes on where it is, if the file there is still the same."""
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
                    if done > MAX_BYTES:  # of a server that does not say how much it sends
                        _forget(part)
                        raise DownloadError(_too_large(name, done))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there was nothing left to send, or the file is another one now
            _forget(part)
        raise DownloadError(_refused(url, error.code)) from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an address or a length that is none
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"{url} cannot be reached ({reason}); check the connection and try again"
        ) from error
    if answer.size is not None and done != answer.size:
        raise DownloadError(
            f"{name} broke off after {done} of {answer.size} bytes; try again, it goes on from there"
        )
    return answer


def _opened(url: str, begin: int, etag: str | None) -> tuple[Any, str | None]:
    """The response, and the sum that was stated on the way to it."""
    headers = {"User-Agent": "uniid", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
        if etag:
            headers["If-Range"] = etag
    request = urllib.request.Request(url, headers=headers)
    if request.type not in {"http", "https"}:
        raise DownloadError(f"{url} is no address that is fetched from; HF_ENDPOINT must begin with https://")
    redirects = _Redirects()
    response = urllib.request.build_opener(redirects).open(request, timeout=SECONDS)
    return response, redirects.linked


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps what the hub says of a file before it sends the client on to where the file lies."""

    linked: str | None = None

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.linked = self.linked or headers.get("X-Linked-Etag")
        if req.type == "https" and not newurl.startswith("https://"):
            raise DownloadError(f"{req.full_url} leads to {newurl}, which is not encrypted; get it by hand")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read_head(response: Any, linked: str | None) -> _Answer:
    headers = response.headers
    begins, size = 0, headers.get("Content-Length")
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        if found is None:
            raise DownloadError(f"{response.url} answers with a part that it does not name; try again later")
        begins, size = int(found[1]), found[2]
    stated = str(linked or headers.get("X-Linked-Etag") or "").strip('"')  # the hub's sum of a large file
    return _Answer(
        begins=begins,
        size=None if size is None else int(size),
        etag=headers.get("ETag"),
        sha256=stated if re.fullmatch(r"[0-9a-f]{64}", stated) else None,
    )


def _unpack(archive: Path, folder: Path, piece: Piece) -> None:
    """Take the wanted members out of a zip archive: each bounded, checked, and under a name of ours."""
    try:
        with Frugal(archive, MAX_DIRECTORY) as file, zipfile.ZipFile(file) as opened:
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
            shutil.copyfileobj(packed, file, BLOCK)  # zipfile gives out no more than the size it states
        digest = sha256(temporary)
        if digest != wanted:
            raise DownloadError(_not_published(target.name, f"sha256 {digest}", wanted))


def _not_published(name: str, found: str, wanted: str) -> str:
    return (
        f"{name} is not the published file: what was found is {found}, and sha256 {wanted} is needed; "
        "get it from another place"
    )


def _note(part: Path) -> Path:
    """Which file the part is of."""
    return part.with_name(f"{part.name}.json")


def _kept(part: Path, url: str) -> str | None:
    """The mark of the file that a part is of; None where it cannot be gone on with."""
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
            f"{size / 1e9:.1f} GB do not fit into {folder}, where {free / 1e9:.1f} GB are free; make room"
        )


def _too_large(name: str, size: int | None) -> str:
    return f"{name} is not the published file: it has {size} bytes or more; get it from another place"


def _refused(url: str, code: int) -> str:
    if code in (401, 403):
        return f"{url} is not open to all (HTTP {code}); accept its licence there and get it by hand"
    if code == 404:
        return f"{url} is not there (HTTP 404); it may have moved, get it by hand"
    return f"{url} was refused (HTTP {code}); try again later"
