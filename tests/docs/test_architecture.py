"""``docs/architecture.md`` and the decisions name files that there are."""

import re

import pytest

from tests.docs.pages import DOCS, ROOT, rows, text_of

PAGE = "docs/architecture.md"
PATH = re.compile(r"`((?:lib_uniid|tests|docs|javascript|scripts|requirements|miniature|tools)/[\w./-]*)`")
WANTED = (
    "a number of a person, with its slider",
    "a slider for an attribute (smile, age)",
    "a face recogniser that makes ID features",
    "a family of base models",
    "a REST route",
    "a method",
    "a document",
)


def test_every_file_that_the_page_names_exists():
    named = PATH.findall(text_of(PAGE))
    assert len(named) > 50
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("what", WANTED)
def test_the_page_names_the_files_to_edit_and_their_tests(what: str):
    (row,) = [row for row in rows(PAGE, "to change or add") if row[0] == what]
    assert len(row) == 3


def test_every_package_has_a_row():
    places = " ".join(row[0] for row in rows(PAGE, "place in `lib_uniid/`"))
    named = {name.strip("/").partition("/")[0] for name in re.findall(r"`([\w/]+)`", places)}
    packages = {path.parent.name for path in (ROOT / "lib_uniid").glob("*/__init__.py")}
    assert packages <= named


@pytest.mark.parametrize("page", sorted(f"docs/decisions/{path.name}" for path in DOCS.glob("decisions/*")))
def test_every_file_that_a_decision_names_exists(page: str):
    assert [path for path in PATH.findall(text_of(page)) if not (ROOT / path).exists()] == []
