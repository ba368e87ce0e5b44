"""The code blocks and tables of the documents, as their tests take them."""

import re
import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def text_of(page: str) -> str:
    """A document, named from the top of the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Every fenced block of a language, in the order of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def rows(page: str, first: str) -> list[list[str]]:
    """The cells of the tables whose first column is headed ``first``."""
    found: list[list[str]] = []
    inside = False
    for line in text_of(page).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if cells and inside and not set(line) <= set("|-"):
            found.append(cells)
        inside = bool(cells) and (inside or cells[0] == first)
    return found


def run(source: str, folder: Path) -> dict[str, Any]:
    """Run Python source as a program of its own; what it names, afterwards."""
    path = folder / "example.py"
    path.write_text(source, encoding="utf-8")
    return runpy.run_path(str(path))
