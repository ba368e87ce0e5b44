"""Links between documents lead to headings that there are, and the evidence to tests that there are."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, rows, text_of

PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), ROOT / "benchmarks" / "RESULTS.md"]
LINK = re.compile(r"\]\(([^):]*)#([^)]+)\)")
EVIDENCE = re.compile(r"`((?:\w+/)?test_\w+\.py)(?:::(\w+))?`")
GENUINE = ROOT / "tests" / "hosts" / "webui"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_heading_finds_it(page: Path):
    links = LINK.findall(page.read_text(encoding="utf-8"))
    targets = [((page.parent / path if path else page), anchor) for path, anchor in links]
    assert [anchor for target, anchor in targets if anchor not in anchors(target)] == []


def test_the_evidence_beside_other_extensions_names_tests_that_there_are():
    named = [one for row in rows("benchmarks/RESULTS.md", "beside") for one in EVIDENCE.findall(row[-1])]
    assert len(named) > 20
    for path, name in named:
        file = next(place / path for place in (GENUINE, ROOT / "tests") if (place / path).exists())
        assert f"def {name}" in file.read_text(encoding="utf-8"), path


def test_the_links_are_seen():
    assert ("docs/using.md", "the-command-line") in LINK.findall(text_of("README.md"))
