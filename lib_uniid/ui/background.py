"""Run work in a thread and yield its progress reports."""

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

SECONDS = 0.1
"""Least time between two yielded reports; of the reports in between only the latest is kept."""
STOP_SECONDS = 60.0
"""How long to wait for the work to stop after the iterator is closed."""

Report = Callable[..., None]


class Stopped(Exception):  # noqa: N818, nothing went wrong
    """Raised by a report after the iterator is closed."""


def reports(work: Callable[[Report], object]) -> Generator[tuple[Any, ...]]:
    """Run ``work`` with a report function and yield its reports; the last one is always yielded.

    An error of the work is raised here. After the iterator is closed, the next report stops the work.
    """
    latest: deque[tuple[Any, ...]] = deque(maxlen=1)
    failed: list[BaseException] = []
    done, closed = threading.Event(), threading.Event()

    def report(*values: Any) -> None:
        if closed.is_set():
            raise Stopped
        latest.append(values)

    def run() -> None:
        try:
            work(report)
        except Stopped:
            pass
        except BaseException as error:  # raised again in the caller's thread
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run, name="uniid-background", daemon=True)
    thread.start()
    try:
        while not done.wait(SECONDS):
            if latest:
                yield latest.popleft()
        yield from latest
    finally:
        closed.set()
        thread.join(STOP_SECONDS)
    if failed:
        raise failed[0]
