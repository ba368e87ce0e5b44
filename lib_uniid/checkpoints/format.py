"""A file format as a value: which names mark it, and which shape every tensor must have.

A shape is written as words, ``"2*inner dim"``: a number stands for itself, a word for a size that is free but
the same wherever the word stands. So a narrower file fits as long as it agrees with itself.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from lib_uniid.checkpoints.header import Header
from lib_uniid.errors import CheckpointMismatchError

Layout = Mapping[str, str]
"""Every name that must be there, and its shape in words."""

Shape = tuple[int, ...]

FRACTIONS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Types of numbers, as safetensors calls them, that weights may have."""

_COUNTER = ".num_batches_tracked"
"""A whole number beside a batch norm's statistics, which is not used."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names of tensors that begin, or are, as ``pattern``."""

    pattern: str

    def matches(self, header: Header) -> bool:
        """Whether the file has such a name."""
        return any(map(re.compile(self.pattern).match, header.shapes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of published file.

    Attributes:
        name: short, for lists and tables.
        title: how to call such a file in a sentence.
        marks: names that show this format, all of them.
        excluded: names that only other formats with these marks have.
        layout: given the names that are there (they show depths), all names and shapes that must be.
        ignored: matches names that may be there and are not used.
        groups: outermost dictionaries of the published file.
        fragments: names in a file that is only a part of this one.
        remedy: where a right file comes from.
    """

    name: str
    title: str
    marks: frozenset[str]
    layout: Callable[[Collection[str]], Layout]
    remedy: str
    excluded: frozenset[str] = frozenset()
    ignored: re.Pattern[str] = field(default=re.compile(r"(?!)"))
    fragments: Names | None = None
    groups: tuple[str, ...] = ()

    def matches(self, header: Header) -> bool:
        return self.marks <= header.shapes.keys() and not self.excluded & header.shapes.keys()

    def check(self, header: Header) -> dict[str, int]:
        """The sizes that the words stand for in this file.

        Raises:
            CheckpointMismatchError: names differ from the layout, shapes disagree with one another, or a
                tensor holds whole numbers.
        """
        layout = self.layout(header.shapes)
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
                f"{header.path.name} does not fit together as a {self.title}: {first} has shape "
                f"{list(header.shapes[first])}, expected {list(misshapen[first])}; {self.remedy}",
                misshapen=misshapen,
            )
        self._require_fractions(header, layout)
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
                f"{header.types[wrong[0]]} where floating point is needed ({len(wrong)} such tensors); "
                f"{self.remedy}",
                misshapen=wrong,
            )

    def used(self, names: Collection[str]) -> list[str]:
        """The names that are read, without those that are ignored."""
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
    """Sizes by word, and what was expected of every tensor that contradicts them.

    The majority decides on a size, so that one wrong tensor is named and not all others.
    """
    sides = [
        (word, side)
        for name, words in layout.items()
        if len(words.split()) == len(shapes[name])
        for word, side in zip(words.split(), shapes[name], strict=True)
    ]
    sizes = _elect((word, side) for word, side in sides if "*" not in word and not word.isdecimal())
    products = [(*word.split("*"), side) for word, side in sides if "*" in word]
    sizes |= _elect(
        (factor, side // max(1, sizes.get(unit, 1)))
        for factor, unit, side in products
        if factor not in sizes and not factor.isdecimal()
    )
    expected = {name: tuple(_value(word, sizes) for word in words.split()) for name, words in layout.items()}
    return sizes, {name: shape for name, shape in expected.items() if shape != shapes[name]}


def _elect(votes: Iterable[tuple[str, int]]) -> dict[str, int]:
    counted: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for word, side in votes:
        counted[word][side] += 1
    return {word: counter.most_common(1)[0][0] for word, counter in counted.items()}


def _value(word: str, sizes: Mapping[str, int]) -> int:
    parts = (int(part) if part.isdecimal() else sizes.get(part, 0) for part in word.split("*"))
    return math.prod(parts)
