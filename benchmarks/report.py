"""Figures with targets, printed in one format by every benchmark and evaluation.

With ``--json`` one object per line, as soon as it is measured; otherwise one table at the end::

    def main(argv: list[str]) -> int:
        return report(measure(), as_json="--json" in argv)
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number.

    ``name`` is a path such as ``attention/sd15/people=2/ratio``. ``target`` is a text (``<= 1.04``) and
    ``holds`` whether the value reaches it; both are None for a figure without a target.
    """

    name: str
    value: float
    unit: str
    target: str | None = None
    holds: bool | None = None

    @classmethod
    def at_least(cls, name: str, value: float, unit: str, bound: float) -> "Figure":
        """A figure whose value should not be below ``bound``; NaN never holds."""
        return cls(name=name, value=value, unit=unit, target=f">= {bound:g}", holds=bool(value >= bound))

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, bound: float) -> "Figure":
        """A figure whose value should not be above ``bound``; NaN never holds."""
        return cls(name=name, value=value, unit=unit, target=f"<= {bound:g}", holds=bool(value <= bound))


VERDICTS = {True: "holds", False: "MISSED", None: ""}


def table(figures: Sequence[Figure]) -> str:
    """The figures in aligned columns: name, value with unit, target, verdict."""
    rows = [(f.name, f"{f.value:.4g} {f.unit}".strip(), f.target or "", VERDICTS[f.holds]) for f in figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in aligned)


def report(figures: Iterable[Figure], *, as_json: bool) -> int:
    """Print the figures and return the exit code: 1 if one misses its target, else 0."""
    known: list[Figure] = []
    for figure in figures:
        known.append(figure)
        if as_json:
            print(json.dumps(asdict(figure)), flush=True)
    if not as_json:
        print(table(known))
    return int(any(figure.holds is False for figure in known))
