"""A file format as data: the names that identify it, and the shape of every tensor.

A shape is a text such as ``"2*inner dim"``: a number is a fixed size, a word a variable that has the same
value everywhere. So a narrower file matches if its sizes are consistent.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lib_uniid.checkpoints.header import Header
from lib_uniid.errors import CheckpointMismatchError

Layout = Mapping[str, str]
"""Every required name, and its shape as text."""

Shape = tuple[int, ...]

T = TypeVar("T")

FRACTIONS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Allowed types of weights, with safetensors' names."""

_COUNTER = ".num_batches_tracked"
"""An integer of batch norms, which is not used."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names of tensors whose beginning matches ``pattern``."""

    pattern: str

    def matches(self, header: Header) -> bool:
        """Whether the file has such a name."""
        return any(map(re.compile(self.pattern).match, header.shapes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One type of published file.

    Attributes:
        name: short, for lists and tables.
        title: the name of such a file in a sentence.
        marks: names that identify this format; all must exist.
        excluded: names that only other formats with these marks have.
        layout: for the names in a file (they show depths), all required names and shapes.
        ignored: matches allowed names that are not used.
        optional: matches names of the layout that may be missing.
        prefix: what all names in a file may begin with; every other attribute has the names without it.
        unfit: why a whole file with these shapes cannot be used; None if it can.
        groups: outermost dictionaries of the published file.
        fragments: names in a file that is only a part of this one.
        remedy: where to get a valid file.
    """

    name: str
    title: str
    marks: frozenset[str]
    layout: Callable[[Collection[str]], Layout]
    remedy: str
    excluded: frozenset[str] = frozenset()
    ignored: re.Pattern[str] = field(default=re.compile(r"(?!)"))
    optional: re.Pattern[str] = field(default=re.compile(r"(?!)"))
    prefix: str = ""
    unfit: Callable[[Mapping[str, Shape]], str | None] = lambda _: None
    fragments: Names | None = None
    groups: tuple[str, ...] = ()

    def matches(self, header: Header) -> bool:
        names = self.bare(header.shapes).keys()
        return self.marks <= names and not self.excluded & names

    def bare(self, values: Mapping[str, T]) -> Mapping[str, T]:
        """The same by names without the prefix, in a file whose names have it."""
        if not self.prefix or not any(name.startswith(self.prefix) for name in values):
            return values
        return {name.removeprefix(self.prefix): value for name, value in values.items()}

    def check(self, header: Header) -> dict[str, int]:
        """The values of the words in this file.

        Raises:
            CheckpointMismatchError: names differ from the layout, shapes are inconsistent, a tensor holds
                integers, or the file is unfit.
        """
        header = replace(header, shapes=self.bare(header.shapes), types=self.bare(header.types))
        layout = {
            name: shape
            for name, shape in self.layout(header.shapes).items()
            if name in header.shapes or not self.optional.fullmatch(name)
        }
        present = {name for name in header.shapes if name in layout or not self.ignored.fullmatch(name)}
        missing, unexpected = layout.keys() - present, present - layout.keys()
        if missing or unexpected:
            raise CheckpointMismatchError(
                f"{header.path.name} is not a whole {self.title}: {_differences(missing, unexpected)}; "
                f"{self.remedy}",
                missing=missing,
                unexpected=unexpected,
            )
        sizes, misshapen = _solve(layout, header.shapes)
        if misshapen:
            first = next(iter(misshapen))
            raise CheckpointMismatchError(
                f"{header.path.name} is not consistent as a {self.title}: {first} has shape "
                f"{list(header.shapes[first])}, expected {list(misshapen[first])}; {self.remedy}",
                misshapen=misshapen,
            )
        self._require_fractions(header, layout)
        if reason := self.unfit(header.shapes):
            raise CheckpointMismatchError(
                f"{header.path.name} cannot be used as a {self.title}: {reason}; {self.remedy}"
            )
        return sizes

    def _require_fractions(self, header: Header, layout: Layout) -> None:
        wrong = [
            name
            for name in layout
            if header.types.get(name, "F32") not in FRACTIONS and not name.endswith(_COUNTER)
        ]
        if wrong:
            raise CheckpointMismatchError(
                f"{header.path.name} cannot be used as a {self.title}: {wrong[0]} holds numbers of type "
                f"{header.types[wrong[0]]}, expected floating point ({len(wrong)} such tensors); "
                f"{self.remedy}",
                misshapen=wrong,
            )

    def used(self, names: Collection[str]) -> list[str]:
        """The names, which have no prefix, without the ignored ones."""
        layout = self.layout(names)
        return [name for name in names if name in layout]


def _differences(missing: set[str], unexpected: set[str]) -> str:
    parts = [
        f"{kind} {min(names)}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for kind, names in (("lacks", missing), ("has an unknown", unexpected))
        if names
    ]
    return ", ".join(parts)


def _solve(layout: Layout, shapes: Mapping[str, Shape]) -> tuple[dict[str, int], dict[str, Shape]]:
    """Sizes by word, and the expected shape of every tensor that contradicts them.

    The majority decides on a size, so the message names one wrong tensor instead of all others.
    """
    sides = [
        (word, side)
        for name, words in layout.items()
        if len(words.split()) == len(shapes[name])
        for word, side in zip(words.split(), shapes[name], strict=True)
    ]
    sizes = _majority((word, side) for word, side in sides if "*" not in word and not word.isdecimal())
    products = [(*word.split("*"), side) for word, side in sides if "*" in word]
    sizes |= _majority(
        (factor, side // max(1, sizes.get(unit, 1)))
        for factor, unit, side in products
        if factor not in sizes and not factor.isdecimal()
    )
    shape_of = {words: tuple(_value(word, sizes) for word in words.split()) for words in set(layout.values())}
    expected = {name: shape_of[words] for name, words in layout.items()}
    return sizes, {name: shape for name, shape in expected.items() if shape != shapes[name]}


def _majority(votes: Iterable[tuple[str, int]]) -> dict[str, int]:
    counted: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for word, side in votes:
        counted[word][side] += 1
    return {word: counter.most_common(1)[0][0] for word, counter in counted.items()}


def _value(word: str, sizes: Mapping[str, int]) -> int:
    parts = (int(part) if part.isdecimal() else sizes.get(part, 0) for part in word.split("*"))
    return math.prod(parts)
