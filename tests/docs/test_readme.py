"""The README and ``docs/using.md``: their commands work after a set-up, on the shipped models."""

import re
import shlex
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from PIL import Image

import dev
from lib_uniid.cli import main
from lib_uniid.commands.options import parser
from lib_uniid.fields.person import METHOD_NUMBERS
from lib_uniid.fields.request import REQUEST
from miniature import MODELS
from tests.docs.pages import DOCS, ROOT, blocks, rows, run, text_of
from tests.standalone import needs_standalone_host

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in DOCS.glob("*.md"))]
PROGRAM = re.compile(r"^(?:\.venv/bin/)?uniid (.*)")


def commands(page: str) -> list[str]:
    """Every call of ``uniid`` in a page's blocks."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [found[1] for line in lines if (found := PROGRAM.match(line))]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models and pictures of a checkout, in which programs may write."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(MODELS.parent, folder / "miniature", ignore=shutil.ignore_patterns("*.py", "trained"))
    return folder


@pytest.fixture
def here(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("XDG_STATE_HOME", str(checkout / "state"))
    return checkout


@needs_standalone_host
@pytest.mark.slow
def test_the_command_in_the_readme_makes_its_picture(here: Path, capsys: pytest.CaptureFixture[str]):
    (command,) = commands("README.md")
    assert main([*shlex.split(command), "--device", "cpu"]) == 0
    words = capsys.readouterr().out
    assert words.startswith("out/00001-1.png (seed 1)\n  Anna: face ")
    assert "Ben: face " in words


@needs_standalone_host
@pytest.mark.slow
def test_the_program_in_the_readme_makes_its_picture(here: Path, capsys: pytest.CaptureFixture[str]):
    (program,) = blocks("README.md", "python")
    run(program, here)
    assert Image.open(here / "anna.png").size == (128, 128)
    assert "Anna" in capsys.readouterr().out


@pytest.mark.parametrize(("page", "command"), [(page, one) for page in PAGES for one in commands(page)])
def test_every_command_on_a_page_has_options_that_there_are(page: str, command: str):
    assert isinstance(parser().parse_args(shlex.split(command)), Namespace), page


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists(page: str):
    assert set(re.findall(r"`uniid ([a-z]+)", text_of(page))) <= _listed()


def _listed() -> set[str]:
    return set(re.findall(r"^    ([a-z]+) ", parser().format_help(), re.MULTILINE))


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_every_command_of_dev_that_a_page_names_exists(page: str):
    named = set(re.findall(r"python dev\.py ([a-z]+)", text_of(page)))
    assert named <= set(dev.COMMANDS)
    assert named or page != "README.md"


def test_the_page_for_users_lists_every_command():
    table = {cells[0] for cells in rows("docs/using.md", "command")}
    assert table == {f"`uniid {name}`" for name in _listed()}


def test_every_control_on_the_page_for_users_is_in_the_interface():
    sources = [path for part in ("ui", "fields") for path in (ROOT / "lib_uniid" / part).glob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    automatic = [*METHOD_NUMBERS, REQUEST["identity_scale"], REQUEST["merge_start"]]
    source += "\n".join(f"Automatic {row.label_in_text}" for row in automatic)
    controls = re.findall(r"\*\*(.+?)\*\*", " ".join(cells[0] for cells in rows("docs/using.md", "control")))
    named = [name.partition(" 1")[0] for name in controls if not name.startswith("Person 4")]
    assert len(named) > 20
    assert [name for name in named if name not in source] == []
