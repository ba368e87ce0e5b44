"""The page, whose generations wait at the step that a file names, for as long as the file is there.

So a test has a generation that lasts, on a machine of any speed.
"""

import os
import sys
import time
from pathlib import Path

from lib_uniid.cli import main
from lib_uniid.ui.finished import Finished, Shown

HOLD = "UNIID_TEST_HOLD"
"""The environment variable with the path of the file."""


def _held_from() -> float:
    try:
        return float(Path(os.environ[HOLD]).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # there is no file, or it is not written yet
        return float("inf")


def _hold() -> None:
    report = Finished.report

    def report_and_wait(self: Finished, shown: Shown) -> None:
        report(self, shown)
        while shown.step >= _held_from():
            time.sleep(0.25)  # more reports than a slow browser shows would keep it busy
            report(self, shown)  # raises once the run is cancelled

    Finished.report = report_and_wait


if __name__ == "__main__":
    _hold()
    sys.exit(main())
