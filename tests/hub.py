"""A server on this machine that behaves as the hub of models does."""

import hashlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """What the server has and how it behaves; ``asked`` are the paths and ranges of requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.states_sum, self.takes_ranges, self.breaks_after = True, True, 0
        self.lies, self.address = False, ""
        self.states_size: str | bool = True

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append((handler.path, asked))
        if target := self.moved.get(handler.path):
            handler.send_response(302)
            handler.send_header("Location", self.address + target)
            if self.states_sum:
                handler.send_header(
                    "X-Linked-Etag", f'"{hashlib.sha256(self.files[handler.path]).hexdigest()}"'
                )
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        data = self.files.get(handler.path)
        if data is None:
            handler.send_error(403 if "gated" in handler.path else 404)
            return
        digest = hashlib.sha256(data).hexdigest()
        same = handler.headers.get("If-Range") == f'"{digest}"'
        begin = int(asked[6:-1]) if asked and same and self.takes_ranges else 0
        handler.send_response(206 if begin else 200)
        handler.send_header("ETag", f'"{digest}"')
        if self.states_size:
            stated = str(len(data) - begin) if self.states_size is True else self.states_size
            handler.send_header("Content-Length", stated)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        if self.states_sum and not self.moved:
            stated = digest if not self.lies else "0" * 64
            handler.send_header("X-Linked-Etag", f'"{stated}"')
        handler.end_headers()
        end = begin + self.breaks_after if self.breaks_after else len(data)
        handler.wfile.write(data[begin:end])


@contextmanager
def running() -> Generator[Hub]:
    """The server, on a port that is free, until the context ends."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
