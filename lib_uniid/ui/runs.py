"""Generations of the page: one at a time, each of one browser tab, which may leave and come back.

A tab is known by a secret of its own, which it keeps over a reload. No other tab's run can be seen or ended.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

State = TypeVar("State")

SECONDS = 0.1
"""Between two looks at a run."""
LONELY = 60.0
"""Seconds after which a run without a watching tab ends for one that waits."""
MOST = 64
"""Tabs that are remembered; the oldest go first."""


class Cancelled(Exception):  # noqa: N818, nothing went wrong
    """Raised inside the work when its tab cancelled it."""


class Run(Generic[State]):
    """One generation. ``latest`` is what its tab shows."""

    def __init__(self, begun: State) -> None:
        self.latest, self.done = begun, threading.Event()
        self._cancel, self._left = threading.Event(), time.monotonic()

    def tell(self, state: State) -> None:
        """Show something; raises ``Cancelled`` when the run was."""
        self.latest = state
        if self._cancel.is_set():
            raise Cancelled

    def cancel(self) -> None:
        self._cancel.set()

    @property
    def lonely(self) -> bool:
        """Whether no tab has watched for a while."""
        return time.monotonic() - self._left > LONELY

    def watch(self) -> Generator[State]:
        """What it shows, whenever that changes, until it has ended; the last is never lost."""
        shown: State | None = None
        while not self.done.wait(SECONDS):
            self._left = time.monotonic()
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
        """The tab's latest run, if it had one."""
        return self._of.get(tab)

    def cancel(self, tab: str) -> None:
        """End the tab's own run at its next step."""
        if run := self.of(tab):
            run.cancel()

    def start(
        self, tab: str, begun: State, waiting: State, work: Callable[[Run[State]], State], cancelled: State
    ) -> Run[State]:
        """Begin, in a thread of its own; the run that the tab has already, where that goes on.

        ``work`` returns the last state and raises nothing but ``Cancelled``. While another tab's run goes
        on ``waiting`` is shown.
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
        """Until it is this run's turn; raises ``Cancelled``."""
        while not self._turn.acquire(timeout=SECONDS):
            run.tell(waiting)
            working = self._working  # it may end at any time
            if working is not None and working.lonely:
                working.cancel()
        self._working = run
