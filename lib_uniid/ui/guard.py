"""What the page's server answers to: this machine, pages of its own, and requests of sensible size.

Any site that is open in a browser can send requests to this machine, also under a host name of its own that
it points here (DNS rebinding). Such requests name another host or another origin. Plain ASGI.
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
"""Names of this machine; a tunnel that forwards a port keeps them."""

MAX_UPLOAD = 16 * MAX_BYTES
"""Bytes of one upload of several files; each is limited to ``MAX_BYTES`` by gradio while it arrives."""
MAX_BODY = 16 * 2**20
"""Bytes of any other request, which is held in memory."""

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
    """A body that goes on beyond its limit."""


class Guard:
    """Refuses other origins and too large bodies, and forbids other pages to show this one in a frame."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        if not _is_own(scope):
            await _refuse(scope, send, 403, "this page takes changes from itself alone")
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
                await _refuse(scope, send, 413, f"a request may have {limit // 2**20} MB at most")


def _limit(path: str) -> int:
    return MAX_UPLOAD if path.rstrip("/").endswith("/upload") else MAX_BODY


def _is_own(scope: Scope) -> bool:
    """Whether a request that may change something comes from a page of this server, or from no page."""
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


# --- who may use it ---


def login(text: str | None) -> tuple[str, str] | None:
    """Name and password from ``NAME:PASSWORD``; None without any text."""
    if not text:
        return None
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise ConfigError("--auth takes NAME:PASSWORD, both not empty; a colon must stand between them")
    return name, password


def require_apart(out: Path, models: Path) -> None:
    """Refuse an output folder that holds the models or the library: all that is in it may be shown."""
    kept = [models, *(models / "uniid" / part for part in ("library", "cache"))]
    if any(one.resolve().is_relative_to(out.resolve()) for one in kept):
        raise ConfigError(
            f"--out {out} holds the models folder or the library {models / 'uniid'}; choose another folder"
        )


# --- files that last as long as the page ---

PREFIX = "uniid-page-"


@contextmanager
def private_temporary_folder() -> Generator[Path]:
    """A folder for uploads and what is shown, which only this user may read; removed at the end.

    Files that are made meanwhile can be read by this user alone. What a killed page left is removed first.
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
    """Remove another page's folder unless that page is still there."""
    from filelock import FileLock

    with suppress(OSError):
        kind = folder.lstat()
        if not stat.S_ISDIR(kind.st_mode) or kind.st_uid != getattr(os, "getuid", lambda: kind.st_uid)():
            return
        with FileLock(str(folder / ".lock"), blocking=False):
            pass
        shutil.rmtree(folder, ignore_errors=True)
