"""Progress bars for terminals; imports nothing heavy."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from tqdm import tqdm

from lib_uniid.printing import visible


@contextmanager
def bar(title: str) -> Generator[Callable[[int, int], None]]:
    """A progress bar on standard error, if that is a terminal."""
    with tqdm(desc=visible(title), file=sys.stderr, disable=None, leave=False) as shown:

        def progress(step: int, steps: int) -> None:
            shown.total, shown.n = steps, step
            shown.refresh()

        yield progress
