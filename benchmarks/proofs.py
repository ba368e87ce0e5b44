"""``bench proofs``: the tests marked slow, which ``dev.py test`` leaves out.

They drive the page and the panel in a browser, kill programs, open hostile files, and run the miniature's
recipes. What pytest says goes to standard error; other arguments are passed on to it.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import dev
from benchmarks.report import Figure, report


def figures(arguments: Sequence[str]) -> Iterator[Figure]:
    """How the slow tests ended; a run that ended before it could say so counts as one failure."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "proofs.xml"
        command = [sys.executable, *dev.SUITE, "-m", "slow", f"--junitxml={written}", *arguments]
        ended = subprocess.run(command, cwd=dev.ROOT, stdout=sys.stderr, check=False).returncode
        yield from counted(written, ended)


def counted(written: Path, ended: int) -> Iterator[Figure]:
    """The figures of one run of pytest: its report, where there is one, and its exit code."""
    suite = ElementTree.parse(written).find("testsuite") if written.exists() else None
    found = {} if suite is None else suite.attrib
    tests, failed, errors, skipped = (
        int(found.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
    )
    failed += errors
    yield Figure.at_least("proofs/passed", tests - failed - skipped, "", 1)
    yield Figure.at_most("proofs/failed", failed or int(ended != 0), "", 0)
    yield Figure(name="proofs/skipped", value=skipped, unit="")
    yield Figure(name="proofs/seconds", value=float(found.get("time", 0)), unit="s")


def main(argv: list[str]) -> int:
    """Print the figures; 1 when a proof fails or none ran."""
    parser = argparse.ArgumentParser(prog="bench proofs", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object per line")
    options, rest = parser.parse_known_args(argv)
    return report(figures(rest), as_json=options.json)
