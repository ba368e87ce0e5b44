"""Generations of the page: one at a time, each started by one browser tab.

A tab has its own secret, which it keeps over a reload. A tab can neither see nor cancel another tab's run.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

State = TypeVar("State")

SECONDS = 0.1
"""Interval at which a run is polled."""
UNWATCHED_SECONDS = 60.0
"""After this time without a watching tab a run is cancelled if another run waits."""
MOST = 64
"""Tabs whose runs are kept; the oldest are dropped first."""


class Cancelled(Exception):  # noqa: N818, nothing went wrong
    """Raised inside the work after its tab cancelled the run."""


class Run(Generic[State]):
    """One generation. ``latest`` is what its tab shows."""

    def __init__(self, begun: State) -> None:
        self.latest, self.done = begun, threading.Event()
        self._cancel, self._watched = threading.Event(), time.monotonic()

    def report(self, state: State) -> None:
        """Set the state to show; raises ``Cancelled`` if the run is cancelled."""
        self.latest = state
        if self._cancel.is_set():
            raise Cancelled

    def cancel(self) -> None:
        self._cancel.set()

    @property
    def unwatched(self) -> bool:
        """Whether no tab has watched the run for ``UNWATCHED_SECONDS``."""
        return time.monotonic() - self._watched > UNWATCHED_SECONDS

    def watch(self) -> Generator[State]:
        """Each new state until the run ends; the last state is always yielded."""
        shown: State | None = None
        while not self.done.wait(SECONDS):
            self._watched = time.monotonic()
            if self.latest is not shown:
                shown = self.latest
                yield shown
        yield self.latest


class Runs(Generic[State]):
    """The runs of all tabs, by the tabs' secrets."""

    def __init__(self) -> None:
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._of: OrderedDict[str, Run[State]] = OrderedDict()
        self._working: Run[State] | None = None

    def of(self, tab: str) -> Run[State] | None:
        """The tab's latest run; None without one."""
        return self._of.get(tab)

    def cancel(self, tab: str) -> None:
        """Cancel the tab's run at its next step."""
        if run := self.of(tab):
            run.cancel()

    def start(
        self, tab: str, begun: State, waiting: State, work: Callable[[Run[State]], State], cancelled: State
    ) -> Run[State]:
        """Start ``work`` in a new thread; returns the tab's current run if that has not ended.

        ``work`` returns the last state and raises only ``Cancelled``. ``waiting`` is shown during another
        tab's run.
        """
        with self._lock:
            run = self._of.get(tab)
            if run is not None and not run.done.is_set():
                return run
            run = self._of[tab] = Run(begun)
            self._of.move_to_end(tab)
            while len(self._of) > MOST:
                self._of.popitem(last=False)

        def go() -> None:
            try:
                self._wait(run, waiting)
                try:
                    run.latest = work(run)
                finally:
                    self._working = None
                    self._turn.release()
            except Cancelled:
                run.latest = cancelled
            finally:
                run.done.set()

        threading.Thread(target=go, name="uniid-run", daemon=True).start()
        return run

    def _wait(self, run: Run[State], waiting: State) -> None:
        """Wait for this run's turn; raises ``Cancelled``."""
        while not self._turn.acquire(timeout=SECONDS):
            run.report(waiting)
            working = self._working  # read once: it may end at any time
            if working is not None and working.unwatched:
                working.cancel()
        self._working = run
