"""Work in a thread of its own, and what it tells meanwhile."""

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

SECONDS = 0.1
"""Between two things that are told; of those in between only the latest counts."""
PATIENCE = 60.0
"""Seconds to wait for work to stop after its listener has gone."""

Tell = Callable[..., None]


class Stopped(Exception):  # noqa: N818, nothing went wrong
    """Raised by telling after the listener has gone."""


def told(work: Callable[[Tell], object]) -> Generator[tuple[Any, ...]]:
    """Run ``work`` with a function to tell something by, and yield that; the last is never lost.

    An error of the work is raised here. When the iterator is closed, the next telling stops the work.
    """
    latest: deque[tuple[Any, ...]] = deque(maxlen=1)
    failed: list[BaseException] = []
    done, left = threading.Event(), threading.Event()

    def tell(*something: Any) -> None:
        if left.is_set():
            raise Stopped
        latest.append(something)

    def run() -> None:
        try:
            work(tell)
        except Stopped:
            pass
        except BaseException as error:  # raised again in the listener's thread
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
        left.set()
        thread.join(PATIENCE)
    if failed:
        raise failed[0]
