"""Many generations in one process: what may not grow, and what may not depend on what came before."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import numpy as np

WARM = 0.2
"""Share of the generations in which caches fill; growth is looked for after them."""


GenerateArguments = dict[str, Any]


def kinds_of_request(
    ask: Callable[..., GenerateArguments],
    person: Callable[..., GenerateArguments],
    hires: Mapping[str, Any],
    painting: str,
) -> dict[str, GenerateArguments]:
    """Every kind of request whose traces could be told apart, by a name.

    ``hires`` is a host's own; ``painting`` is a picture in base64 whose style is taken.
    """
    both = ask(person("Anna"), person("Ben"))
    # In a smaller picture a call of one row leaves a narrow UNet single values, which cannot be normalised.
    large = {"width": 64, "height": 64}
    return {
        "no people": {},
        "Anna": {"alwayson_scripts": ask(person("Anna"))},
        "Ben in a batch": {"alwayson_scripts": ask(person("Ben")), "batch_size": 2},
        "AND": {"alwayson_scripts": both, "prompt": "a park AND a lake"},
        "other weights": {"alwayson_scripts": ask(person("Anna", weight=0.3), person("Ben", start=0.5))},
        "hires": {"alwayson_scripts": both, **hires},
        "an unknown person": {"alwayson_scripts": ask({"name": "Eve"})},
        "style": {"alwayson_scripts": ask(person("Anna"), style={"picture": painting}), **large},
        "two batches": {"alwayson_scripts": both, "n_iter": 2},
    }


@dataclass(frozen=True, slots=True)
class Traces:
    """What is left between two generations: hooks on the UNet, runs remembered, bytes of the process."""

    hooks: int
    runs: int
    bytes: int


class Place(Protocol):
    """Where pictures are made."""

    def make(self, kind: str, *, interrupted: bool) -> str:
        """Everything that came of a request of this kind, as a text that is equal where the result is."""
        ...

    def traces(self) -> Traces: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What was seen; ``other`` names the generations whose result was not that of the first of their kind."""

    generations: int
    interrupts: int
    other: Sequence[str]
    hooks: int
    runs: int
    bytes: np.ndarray
    """Of the process, after each generation."""

    @property
    def slope(self) -> float:
        """Bytes that the process grew per generation, fitted after the warm-up."""
        return float(self._fit()[0])

    @property
    def drift(self) -> float:
        """By how much it grew in all that time, in multiples of how far values scatter about the line."""
        slope, start = self._fit()
        values = self._warm()
        scatter = np.ptp(values - (slope * np.arange(len(values)) + start))
        return float(max(slope, 0.0) * len(values) / max(scatter, 1.0))

    @property
    def last_growth(self) -> int:
        """The generation after which the process was larger than ever before, for the last time; from 1."""
        peaks = np.maximum.accumulate(self.bytes)
        return int(np.searchsorted(peaks, peaks[-1])) + 1

    def _warm(self) -> np.ndarray:
        return self.bytes[int(WARM * len(self.bytes)) :].astype(float)

    def _fit(self) -> np.ndarray:
        values = self._warm()
        return np.polyfit(np.arange(len(values)), values, 1)


def order(kinds: Sequence[str], generations: int) -> Iterator[tuple[str, bool]]:
    """So many kinds by lot, always the same; one in ten is interrupted."""
    lots = Random(0)
    for _ in range(generations):
        yield lots.choice(kinds), lots.random() < 0.1


def soak(place: Place, kinds: Mapping[str, Any], generations: int) -> Soaked:
    """Make them all."""
    first: dict[tuple[str, bool], str] = {}
    other: list[str] = []
    start = place.traces()
    hooks, runs = 0, start.runs
    sizes = np.full(generations, start.bytes)  # made before, so that keeping them is no growth
    for number, (kind, interrupted) in enumerate(order(list(kinds), generations)):
        result = place.make(kind, interrupted=interrupted)
        if result != first.setdefault((kind, interrupted), result):
            other.append(f"{number}: {kind}" + (", interrupted" if interrupted else ""))
        last = place.traces()
        hooks, runs = max(hooks, last.hooks - start.hooks), max(runs, last.runs)
        sizes[number] = last.bytes
    return Soaked(
        generations=generations,
        interrupts=sum(interrupted for _, interrupted in order(list(kinds), generations)),
        other=other,
        hooks=hooks,
        runs=runs,
        bytes=sizes,
    )
