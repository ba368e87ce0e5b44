"""``uniid``: enrol people, generate pictures with them, and see what is installed.

Standard output carries the result (with ``--json`` one object), standard error everything else. Exit codes:
0 done, 1 ``doctor`` found that files or packages are missing, 2 something has to be changed and one
sentence says what, 70 an unexpected failure whose log file is named, 130 interrupted. Nothing heavy is
imported before a command needs it.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from lib_uniid.commands import Outcome
from lib_uniid.commands.options import parser
from lib_uniid.failures import explain, sentence
from lib_uniid.printing import encodable, one_json, visible

WRONG, UNEXPECTED, INTERRUPTED = 2, 70, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = parser().parse_args(arguments, Namespace(say=_say))
    # Nothing is downloaded unasked, and libraries log errors only.
    os.environ.setdefault("UNIID_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "0"))
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error")
    try:
        outcome: Outcome = import_module(f"lib_uniid.commands.{options.command}").run(options)
        _print(outcome, as_json=options.json)
    except KeyboardInterrupt:
        _say("uniid: interrupted")
        return INTERRUPTED
    except Exception as error:
        _say(f"uniid: {explain(error, f'uniid {options.command}')}")
        return WRONG if sentence(error) else UNEXPECTED
    return outcome.code


def _print(outcome: Outcome, *, as_json: bool) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    lines = [one_json(outcome.result, encoding)] if as_json else list(map(visible, outcome.words))
    try:
        for line in lines:
            print(encodable(line, encoding))
        sys.stdout.flush()
    except OSError:  # the reader is gone, or the disk is full
        _give_up_output()
        raise


def _give_up_output() -> None:
    """What is left to be written would fail once more when Python ends, with a traceback."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _say(line: str) -> None:
    """At once, also through a pipe."""
    with suppress(OSError):  # the reader has gone
        print(visible(line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
