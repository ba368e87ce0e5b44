"""Concurrent writers of one library, and writers that are killed.

    python dev.py bench races [--json] [--races 150] [--kills 50]

Every race starts two processes that open the same folder, wait for one signal and write. A kill ends a
process that writes continuously, at a random moment, with SIGKILL.
"""

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.report import Figure, report
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, UniIDError
from lib_uniid.library.store import Identity, Library, keep_features

ROOT = Path(__file__).parents[1]


def person(name: str, mark: float = 0.0) -> Identity:
    """Features of one reference, identified by ``mark``."""
    return Identity(
        name=name,
        features={
            "one": IDFeatures(
                tensors={"intrinsic": torch.full((4, 8), float(mark))}, fingerprint="abc", references=1
            )
        },
        crops=np.zeros((1, 224, 224, 3), np.uint8),
        embedding=np.eye(8, dtype=np.float32)[0],
    )


# --- the work of one process ---


def _save(library: Library, mark: int) -> None:
    library.save(person("Anna", mark))


def _extend(library: Library, mark: int) -> None:
    library.extend(person("Anna", mark))


def _rename(library: Library, mark: int) -> None:
    library.rename("Anna" if mark == 1 else "Ben", "Zoe")


def _remove(library: Library, mark: int) -> None:
    library.remove("Anna")


def _remove_or_extend(library: Library, mark: int) -> None:
    (_remove if mark == 1 else _extend)(library, mark)


def _remove_or_rename(library: Library, mark: int) -> None:
    if mark == 1:
        _remove(library, mark)
    else:
        library.rename("Anna", "Annabel")


def _keep(library: Library, mark: int) -> None:
    """Features of another encoder, made from the crops."""
    features = person("Anna", mark).features["one"]
    if not keep_features(library.load("Anna"), f"encoder {mark}", features):
        raise ConfigError("not kept")


def _remove_or_keep(library: Library, mark: int) -> None:
    (_remove if mark == 1 else _keep)(library, mark)


def _extend_or_keep(library: Library, mark: int) -> None:
    (_extend if mark == 1 else _keep)(library, mark)


def _churn(library: Library, mark: int) -> None:
    """All operations in turn, until killed; prints each finished write."""
    for number in range(10**6):
        name = f"person {mark} {number}"
        library.save(person(name))
        print(f"saved {name}", flush=True)
        library.extend(person(name))
        keep_features(library.load(name), "two", replace(person(name).features["one"], references=2))
        if number % 3 == 0:
            print(f"removing {name}", flush=True)
            library.remove(name)


WORK: dict[str, Callable[[Library, int], None]] = {
    one.__name__.strip("_"): one
    for one in (
        _save,
        _extend,
        _rename,
        _remove_or_extend,
        _remove_or_rename,
        _keep,
        _remove_or_keep,
        _extend_or_keep,
        _churn,
    )
}


def work(folder: str) -> None:
    """Run the races on standard input: a kind, a subfolder, a time, a mark."""
    print("ready", flush=True)
    for line in sys.stdin:
        kind, below, moment, mark = line.split()
        library = Library(folder=Path(folder) / below)
        while time.time() < float(moment):
            pass
        try:
            WORK[kind](library, int(mark))
            print("done", flush=True)
        except UniIDError as error:
            print(f"refused: {error}", flush=True)


class Program:
    """A process that runs this file."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.races", "--work", str(folder)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.answer() == "ready"

    def ask(self, kind: str, below: str, moment: float, mark: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{kind} {below} {moment} {mark}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> str:
        """Kill the process; returns its remaining output."""
        self.process.kill()
        said, _ = self.process.communicate()
        return said


@contextmanager
def programs(folder: Path, count: int = 2) -> Generator[list[Program]]:
    """Several processes, which are killed afterwards."""
    started = [Program(folder) for _ in range(count)]
    try:
        yield started
    finally:
        for one in started:
            one.end()


# --- what must hold after a race ---


def _once(library: Library, done: int) -> dict[str, int]:
    return {"duplicated": len(library.names()) - 1, "lost": int(done != 1)}


def _all_references(library: Library, done: int) -> dict[str, int]:
    return {"lost": 1 + done - library.load("Anna").references}


def _renamed(library: Library, done: int) -> dict[str, int]:
    return {"duplicated": library.names().count("Zoe") - 1, "lost": 2 - len(library.names()) + (done != 1)}


def _gone(library: Library, done: int) -> dict[str, int]:
    return {"returned": len(library.names()), "lost": 1 - len(library.deleted())}


def _gone_or_renamed(library: Library, done: int) -> dict[str, int]:
    """The first of the two operations wins; the second finds no person of that name."""
    return {"returned": len(library.names()) + len(library.deleted()) - 1, "lost": int(done != 1)}


def _all_features(library: Library, done: int) -> dict[str, int]:
    return {"lost": 1 + done - len(library.load("Anna").features)}


def _extended(library: Library, _: int) -> dict[str, int]:
    """Features of the crops before are not kept beside those after."""
    anna = library.load("Anna")
    return {"lost": 2 - anna.references, "stale": len(anna.features) - 1}


KINDS: dict[str, tuple[tuple[str, ...], Callable[[Library, int], dict[str, int]]]] = {
    "save": ((), _once),
    "extend": (("Anna",), _all_references),
    "rename": (("Anna", "Ben"), _renamed),
    "remove_or_extend": (("Anna",), _gone),
    "remove_or_rename": (("Anna",), _gone_or_renamed),
    "keep": (("Anna",), _all_features),
    "remove_or_keep": (("Anna",), _gone),
    "extend_or_keep": (("Anna",), _extended),
}
"""Kinds of races: the people before, and the check after."""


def race(kind: str, count: int, folder: Path) -> dict[str, int]:
    """Run races of a kind; counts of duplicated, lost and returned people."""
    before, check = KINDS[kind]
    broken: Counter[str] = Counter()
    with programs(folder) as both:
        for number in range(count):
            library = Library(folder=folder / f"{kind}-{number}")
            for name in before:
                library.save(person(name))
            # An offset of up to 2 ms either way makes all orders of the steps occur.
            moment, apart = time.time() + 0.01, random.uniform(-0.002, 0.002)
            for mark, one in enumerate(both, 1):
                one.ask(kind, library.folder.name, moment + (apart if mark == 2 else 0.0), mark)
            done = sum(one.answer() == "done" for one in both)
            broken.update({what: int(times != 0) for what, times in check(library, done).items()})
    return dict(broken)


def kills(count: int, folder: Path) -> dict[str, int]:
    """Kill writers at random moments; counts of lost people, unreadable people and leftover files."""
    broken = {"lost": 0, "half_made": 0, "parts": 0}
    library = Library(folder=folder / "killed")
    left = 0
    for number in range(count):
        program = Program(folder)
        program.ask("churn", "killed", 0.0, number)
        time.sleep(random.uniform(0.0, 0.15))
        said = program.end().splitlines()
        left += len([*library.folder.glob(".*.part")])
        names = library.names()
        removing = {line.removeprefix("removing ") for line in said if line.startswith("removing ")}
        saved = {line.removeprefix("saved ") for line in said if line.startswith("saved ")}
        broken["lost"] += len(saved - removing - set(names))
        broken["half_made"] += sum(not _whole(library, name) for name in names)
        broken["parts"] += len([*library.folder.rglob(".*.part")])
        for name in names:
            library.remove(name)
        library.erase()
    return broken | {"left_by_the_killed": left}


def _whole(library: Library, name: str) -> bool:
    try:
        return library.load(name).references in (1, 2)
    except UniIDError:
        return False


def measure(count: int, killed: int) -> Iterator[Figure]:
    with TemporaryDirectory() as folder:
        for kind in KINDS:
            for what, times in race(kind, count, Path(folder)).items():
                yield Figure.at_most(f"races/{kind}/{what}", times, f"of {count}", 0)
        for what, times in kills(killed, Path(folder)).items():
            name = f"kills/{what}"
            if what == "left_by_the_killed":
                yield Figure(
                    name=name, value=times, unit=f"files of {killed} kills, removed at the next open"
                )
            else:
                yield Figure.at_most(name, times, f"in {killed} kills", 0)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench races", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--races", type=int, default=150)
    parser.add_argument("--kills", type=int, default=50)
    options = parser.parse_args(argv)
    return report(measure(options.races, options.kills), as_json=options.json)


if __name__ == "__main__":
    work(sys.argv[2])
