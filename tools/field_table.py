"""The tables of fields in ``docs/``, made from ``lib_uniid/fields/``.

    python -m tools.field_table

writes each between the lines with its name, such as ``<!-- fields: person -->`` and ``<!-- end -->``.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from lib_uniid.api.regions import REGIONS
from lib_uniid.fields.person import MIX, PERSON, REFERENCE
from lib_uniid.fields.request import REQUEST, STYLE
from lib_uniid.fields.rows import Row, Table

DOCS = Path(__file__).resolve().parents[1] / "docs"
TABLES = {"request": REQUEST, "person": PERSON, "reference": REFERENCE, "mix": MIX, "style": STYLE}
PLACE = re.compile(r"(<!-- fields: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """The text of a page with its tables up to date."""
    return PLACE.sub(lambda found: f"{found[1]}\n{markdown(TABLES[found[2]])}\n{found[3]}", page)


def markdown(table: Table) -> str:
    """One line per field: its name, allowed values, default."""
    lines = [f"| `{row.name}` | {_allowed(row)} | {_default(row)} |" for row in table.values()]
    return "\n".join(["| field | allowed | default |", "|---|---|---|", *lines, ""])


def _allowed(row: Row) -> str:
    limits = {
        "number": row.range,
        "whole": row.range,
        "flag": "`true` or `false`",
        "choice": _choices(row.choices),
        "region": _choices(REGIONS),
        "list": f"up to {row.high}",
    }
    return ": ".join(filter(None, [limits.get(row.kind), row.meaning]))


def _choices(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _default(row: Row) -> str:
    return f"`{row.default_text}`" if row.kind in ("flag", "choice") else row.default_text


def main() -> None:
    """Write every page whose tables have changed."""
    for path in DOCS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        if written(text) != text:
            path.write_text(written(text), encoding="utf-8")


if __name__ == "__main__":
    main()
