"""Tests of installed plugins: entry points, the versions that they need, and how they are listed."""

import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from lib_uniid import cli
from lib_uniid.api import v1
from lib_uniid.methods.registry import default, methods
from lib_uniid.plugins import plugins
from tests.methods.toy import NAME, ToyPlugin

OFF = "the plugin odd is switched off until restart: "

pytestmark = pytest.mark.usefixtures("own_plugins")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[..., None]]:
    """Installs a distribution with requirements, whose entry point ``odd`` is a module of this source."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(source: str, *requirements: str) -> None:
        (tmp_path / "uniid_odd.py").write_text(source)
        (tmp_path / "odd-1.dist-info").mkdir()
        (tmp_path / "odd-1.dist-info" / "METADATA").write_text(
            "".join(["Name: odd\nVersion: 1\n", *(f"Requires-Dist: {one}\n" for one in requirements)])
        )
        (tmp_path / "odd-1.dist-info" / "entry_points.txt").write_text("[uniid]\nodd = uniid_odd\n")

    yield install
    sys.modules.pop("uniid_odd", None)


def test_an_installed_plugin_is_found_and_listed(
    installed: Callable[..., None], capsys: pytest.CaptureFixture[str]
):
    installed(
        "from tests.methods.toy import ToyPlugin\nregister_methods = ToyPlugin().register_methods\n",
        "uniid>=0.1",
    )
    assert methods()[NAME].plugin == "odd"
    assert cli.main(["plugins"]) == 0
    printed = capsys.readouterr().out
    assert f"odd (installed)\n  methods: {NAME}" in printed
    assert "face detectors: insightface" in printed
    assert f"methods: {default()}" in printed
    assert plugins().found["odd"].needs == ">=0.1"


def test_a_plugin_without_values_is_listed_as_such(
    installed: Callable[..., None], capsys: pytest.CaptureFixture[str]
):
    installed("def generation_started(plan):\n    pass\n")
    assert cli.main(["plugins"]) == 0
    assert "odd (installed)\n  registers nothing\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("requirements", "needs"),
    [
        (["numpy>=1", "uniid>=0.2"], ">=0.2"),
        (['uniid<1,>=0.2; extra == "uniid"'], "<1,>=0.2"),
        (["UniID[x] (>=0.2) ; python_version > '3'"], ">=0.2"),
    ],
)
def test_an_installed_plugin_for_another_version_is_not_imported(
    requirements: list[str],
    needs: str,
    installed: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
):
    installed("from lib_uniid.api.v1 import NameOfLater", *requirements)
    assert plugins().off["odd"].startswith(f"{OFF}it needs UniID {needs}, and this is 0.1")
    assert "uniid_odd" not in sys.modules
    assert cli.main(["plugins", "--json"]) == 0
    assert f'"needs": "{needs}"' in capsys.readouterr().out


@pytest.mark.parametrize("requirement", ["uniid", "uniid-toys>=9", "uniid @ https://example.org/uniid.zip"])
def test_an_installed_plugin_without_a_range_works_with_any_version(
    requirement: str, installed: Callable[..., None]
):
    installed("", requirement)
    assert plugins().found["odd"].needs == ""
    assert not plugins().off


@pytest.mark.parametrize("source", ["raise OSError('no libx')", "import uniid_absent", "raise SystemExit(3)"])
def test_a_plugin_that_raises_at_import_is_named_and_listed(
    source: str, installed: Callable[..., None], capsys: pytest.CaptureFixture[str]
):
    installed(source)
    assert list(methods()) == ["UniID", "UniPortrait"]
    assert plugins().off["odd"].startswith(f"{OFF}loading it raised")
    assert cli.main(["plugins", "--json"]) == 0
    assert '"off": "the plugin odd is switched off' in capsys.readouterr().out


# --- without pluggy ---


def test_without_pluggy_what_is_built_in_works_and_others_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pluggy", None)
    v1.register(ToyPlugin(), name="odd")
    assert list(methods()) == ["UniID", "UniPortrait"]
    assert plugins().off["odd"] == "the plugin odd is switched off: pluggy is not installed"
    assert plugins().announce("generation_started", plan=None) == []
