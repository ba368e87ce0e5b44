"""Hostile input: the cost of files, infotexts and requests, each case in its own process.

python dev.py bench hostile [--json] [CORPUS ...]

A corpus is a module of ``benchmarks/corpus``. The targets of every case: under 1 GB above the memory at its
start, under 5 s, no unexpected exception, no process started and no connection made. Cases that miss a
target are printed to standard error. Needs a POSIX system: cases run in forks of a process with all imports.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.corpus import Case
from benchmarks.report import Figure, report
from lib_uniid.failures import sentence

ROOT = Path(__file__).resolve().parents[1]
MEGABYTES, SECONDS = 1000, 5
PATIENCE = 60
"""Seconds until a case is killed."""
CEILING = 5 * 2**30
"""Bytes of address space above those at the start; protects the machine."""
_FORBIDDEN_EVENTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.spawn",
    "pty.spawn",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one case: ``answer`` is the user's message, ``fault`` an unexpected traceback."""

    name: str
    seconds: float
    processor_seconds: float
    megabytes: float
    processes: int
    answer: str
    fault: str

    @property
    def holds(self) -> bool:
        return (
            self.seconds <= SECONDS and self.megabytes <= MEGABYTES and not self.processes and not self.fault
        )


def main(argv: list[str]) -> int:
    """Run all corpora or the named ones; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("corpus", nargs="*", help=", ".join(corpora()))
    options = parser.parse_args(argv)
    return report(_figures(options.corpus or corpora()), as_json=options.json)


def corpora() -> list[str]:
    """The names of all corpora."""
    return sorted(file.stem for file in (Path(__file__).parent / "corpus").glob("[!_]*.py"))


def _figures(names: Sequence[str]) -> Iterator[Figure]:
    for name in names:
        outcomes = list(outcomes_of(name))
        for outcome in outcomes:
            if not outcome.holds:
                print(f"{name}/{outcome.name}: {asdict(outcome)}", file=sys.stderr)
        yield Figure(name=f"hostile/{name}/cases", value=len(outcomes), unit="")
        worst = max(outcome.seconds for outcome in outcomes)
        yield Figure.at_most(f"hostile/{name}/seconds", worst, "s at most", SECONDS)
        most = max(outcome.megabytes for outcome in outcomes)
        yield Figure.at_most(f"hostile/{name}/memory", most, "MB at most", MEGABYTES)
        faults = sum(bool(outcome.fault) for outcome in outcomes)
        yield Figure.at_most(f"hostile/{name}/tracebacks", faults, "cases", 0)
        started = sum(outcome.processes for outcome in outcomes)
        yield Figure.at_most(f"hostile/{name}/processes_and_connections", started, "", 0)


def outcomes_of(name: str, *, quick: bool = False) -> Iterator[Outcome]:
    """Run the cases of a corpus, one after another, in another process."""
    command = [sys.executable, "-m", "benchmarks.hostile", name, *(["--quick"] if quick else [])]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Outcome(**json.loads(line))
    if process.returncode:
        raise RuntimeError(f"the corpus {name} ended with code {process.returncode}")


# --- in the process that has imported a corpus ---


def _run_corpus(name: str, *, quick: bool) -> None:
    cases: Iterator[Case] = import_module(f"benchmarks.corpus.{name}").cases()
    out = os.dup(1)
    os.dup2(2, 1)  # an entry point's prints must not mix with the outcomes
    for case in cases:
        if case.quick or not quick:
            os.write(out, (json.dumps(asdict(measured(case))) + "\n").encode())


def measured(case: Case) -> Outcome:
    """Write one case and run it, each in its own process."""
    with TemporaryDirectory() as folder, TemporaryDirectory() as cache:
        path = _written(case, Path(folder))
        readable, writable = os.pipe()
        begin = time.monotonic()
        child = os.fork()
        if not child:
            os.close(readable)
            os.environ["UNIID_CACHE"] = cache
            _child(case, path, writable)
        os.close(writable)
        status, usage = _waited(child, begin + PATIENCE)
        seconds = time.monotonic() - begin
        with os.fdopen(readable, encoding="utf-8", errors="replace") as pipe:
            reports = [json.loads(line) for line in pipe.read().splitlines()]
    start, end = reports[0], (reports[1] if len(reports) > 1 else {})
    died = "" if end else f"ended by {_reason(status)}"
    return Outcome(
        name=case.name,
        seconds=seconds,
        processor_seconds=usage.ru_utime + usage.ru_stime,
        megabytes=max(0, _bytes(usage.ru_maxrss) - start["rss"]) / 1e6 + end.get("children", 0) / 1e6,
        processes=end.get("processes", 0),
        answer=end.get("answer", ""),
        fault=end.get("fault", died),
    )


def _written(case: Case, folder: Path) -> Path:
    """Write in another process, so that large inputs do not enlarge this one."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os.close(readable)
        try:
            os.write(writable, os.fsencode(case.write(folder)))
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        written = pipe.read()
    os.waitpid(child, 0)
    if not written:
        raise RuntimeError(f"{case.name} could not be written")
    return Path(os.fsdecode(written))


def _waited(child: int, until: float) -> tuple[int, resource.struct_rusage]:
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            return status, usage
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)


def _reason(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _bytes(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024


# --- in the process of one case ---


def _child(case: Case, path: Path, writable: int) -> None:
    """Run the case, report through the pipe, and exit."""
    started: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in _FORBIDDEN_EVENTS or (event == "socket.connect" and not isinstance(arguments[1], str)):
            started.append(event)

    def report_back(**values: object) -> None:
        os.write(writable, (json.dumps(values) + "\n").encode())

    sys.addaudithook(watch)
    memory = psutil.Process().memory_info()
    report_back(rss=memory.rss)
    resource.setrlimit(resource.RLIMIT_AS, (memory.vms + CEILING, memory.vms + CEILING))
    answer, fault = _opened(case, path)
    children = _bytes(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    count = max(len(started), int(children > 0), len(psutil.Process().children()))
    with suppress(BrokenPipeError):
        report_back(answer=answer[:300], fault=fault[-2000:], processes=count, children=children)
    os._exit(0)


def _opened(case: Case, path: Path) -> tuple[str, str]:
    """The entry point's answer, and the traceback of an unexpected failure."""
    try:
        return repr(case.entry_point(path)), ""
    except Exception as error:
        words = sentence(error)
        return (words, "") if words else ("", traceback.format_exc())
    except BaseException:
        return "", traceback.format_exc()


if __name__ == "__main__":
    _run_corpus(sys.argv[1], quick="--quick" in sys.argv)
