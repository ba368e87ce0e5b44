"""``docs/architecture.md`` and the decisions name files that there are."""

import re

import pytest

from tests.docs.pages import DOCS, ROOT, rows, text_of

PAGE = "docs/architecture.md"
FOLDERS = "benchmarks|docs|javascript|lib_uniid|miniature|requirements|scripts|tests|tools"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*|dev\.py|metadata\.ini|pyproject\.toml|style\.css)`")
TABLE = rows(PAGE, "to change or add")
WANTED = {
    "a number of a person, with its slider",
    "a slider for an attribute (smile, age)",
    "a face recogniser that makes ID features",
    "the face recogniser of the check",
    "a family of base models",
    "a REST route",
    "a method",
    "a document",
}


def missing(text: str) -> list[str]:
    """Paths in a text that do not exist."""
    return [path for path in PATH.findall(text) if not (ROOT / path).exists()]


def test_every_file_that_the_page_names_exists():
    assert missing(text_of(PAGE)) == []


def test_the_page_has_a_row_for_every_likely_change():
    assert {row[0] for row in TABLE} >= WANTED


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_change_names_the_files_to_edit_and_their_tests(row: list[str]):
    _, edit, test = row
    assert PATH.search(edit)
    assert any(path.startswith("tests/") for path in PATH.findall(test))


def test_every_package_has_a_row():
    places = " ".join(row[0] for row in rows(PAGE, "place in `lib_uniid/`"))
    named = {name.strip("/").partition("/")[0] for name in re.findall(r"`([\w/]+)`", places)}
    packages = {path.parent.name for path in (ROOT / "lib_uniid").glob("*/__init__.py")}
    assert packages <= named


@pytest.mark.parametrize("page", sorted(f"docs/decisions/{path.name}" for path in DOCS.glob("decisions/*")))
def test_every_file_that_a_decision_names_exists(page: str):
    assert missing(text_of(page)) == []
