"""Tests of the page script: it parses, makes one global, and has what the page and the panel call."""

import re
import shutil
import subprocess

import pytest

from tests.ui.browser import ROOT, needs_chromium, opened

SCRIPT = ROOT / "javascript" / "uniid.js"
TEXT = SCRIPT.read_text(encoding="utf-8")
LINE = 120


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to parse JavaScript")
def test_it_parses():
    done = subprocess.run(["node", "--check", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_written_as_the_rest():
    for number, line in enumerate(TEXT.splitlines(), start=1):
        assert len(line) <= LINE, number
        assert line == line.rstrip(), number
    assert not re.search(r"\bvar\b|[^=!]==[^=]|!=[^=]|\beval\b|innerHTML", TEXT)


def test_it_has_what_is_called():
    has = set(re.findall(r"return \{ (.*) \};", TEXT)[-1].split(", "))
    used = {
        name
        for path in (ROOT / "lib_uniid" / "ui").glob("*.py")
        for name in re.findall(r"(?:\b|\\n)uniid\.(\w+)\(", path.read_text(encoding="utf-8"))
    }
    assert used == has


def test_all_page_script_is_in_it():
    """A call of one function is all that Python may say to a browser."""
    for path in (ROOT / "lib_uniid" / "ui").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"document\.|window\.|querySelector", text), path.name


@needs_chromium
def test_it_makes_one_global_and_a_second_load_changes_nothing():
    with opened("data:text/html,<title>empty</title>") as page:
        before = page.evaluate("Object.keys(window)")
        page.add_script_tag(path=SCRIPT)
        first = page.evaluate("(window.kept = window.uniid, Object.keys(window))")
        page.add_script_tag(path=SCRIPT)
        assert set(first) - set(before) == {"uniid", "kept"}
        assert page.evaluate("window.kept === window.uniid")
