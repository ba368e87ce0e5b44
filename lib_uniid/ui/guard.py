"""Limits the requests that the page's server answers: by host, by origin and by size. Plain ASGI.

Any site that is open in a browser can send requests to this machine, also under a host name that resolves to
it (DNS rebinding). Such requests name another host or another origin.
"""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lib_uniid.errors import ConfigError
from lib_uniid.faces.picture import MAX_BYTES

HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine; they stay the same through a tunnel that forwards a port."""

MAX_UPLOAD = 16 * MAX_BYTES
"""Limit of one upload of several files, in bytes; gradio limits each file to ``MAX_BYTES``."""
MAX_BODY = 16 * 2**20
"""Limit of any other request, in bytes; such requests are held in memory."""

_ANYWHERE = frozenset({"GET", "HEAD"})
_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class TooLarge(Exception):  # noqa: N818, answered and not reported
    """A body is larger than its limit."""


class Guard:
    """Refuses other origins and too large bodies, and forbids framing by other pages."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        if not _is_own(scope):
            await _refuse(scope, send, 403, "this page accepts changes only from its own origin")
            return
        limit, begun = _limit(scope["path"]), False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            await self.app(scope, _counted(receive, limit), answer)
        except TooLarge:
            if not begun:
                await _refuse(scope, send, 413, f"the request is larger than {limit // 2**20} MB")


def _limit(path: str) -> int:
    return MAX_UPLOAD if path.rstrip("/").endswith("/upload") else MAX_BODY


def _is_own(scope: Scope) -> bool:
    """Whether a request is read-only, comes from a page of this server, or has no origin."""
    headers = {name.lower(): value.decode("latin-1").lower() for name, value in scope.get("headers", ())}
    if scope.get("method", "") in _ANYWHERE:
        return True
    origin, host = headers.get(b"origin"), headers.get(b"host")
    return origin is None or origin.partition("://")[2] == host


def _counted(receive: Receive, limit: int) -> Receive:
    left = limit

    async def counting() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLarge
        return message

    return counting


async def _refuse(scope: Scope, send: Send, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})


# --- access ---


def login(text: str | None) -> tuple[str, str] | None:
    """Name and password from ``NAME:PASSWORD``; None without text."""
    if not text:
        return None
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise ConfigError("--auth must be NAME:PASSWORD with a name and a password; separate them by a colon")
    return name, password


def require_apart(out: Path, models: Path) -> None:
    """Refuse an output folder that contains the models or the library: the page may show all its files."""
    private = [models, *(models / "uniid" / part for part in ("library", "cache"))]
    if any(one.resolve().is_relative_to(out.resolve()) for one in private):
        raise ConfigError(
            f"--out {out} contains the models folder or the library {models / 'uniid'}; choose another folder"
        )


# --- temporary files ---

PREFIX = "uniid-page-"


@contextmanager
def private_temporary_folder() -> Generator[Path]:
    """A folder for uploads and shown files, removed at the end. Only the current user may read it.

    Until then the process creates all files with that permission. Folders of killed pages are removed first.
    """
    from filelock import FileLock

    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{PREFIX}*"):
        _remove_unused(left)
    before = os.umask(0o077)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{secrets.token_hex(4)}-"))
    held = FileLock(str(folder / ".lock"))
    held.acquire()
    try:
        yield folder
    finally:
        held.release()
        shutil.rmtree(folder, ignore_errors=True)
        os.umask(before)


def _remove_unused(folder: Path) -> None:
    """Remove the folder of another page that no longer runs."""
    from filelock import FileLock

    with suppress(OSError):
        kind = folder.lstat()
        if not stat.S_ISDIR(kind.st_mode) or kind.st_uid != getattr(os, "getuid", lambda: kind.st_uid)():
            return
        with FileLock(str(folder / ".lock"), blocking=False):
            pass
        shutil.rmtree(folder, ignore_errors=True)
