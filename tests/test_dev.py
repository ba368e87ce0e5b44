"""Laws of ``dev.py``: its commands, their arguments, and the pins of its environments."""

import re
import sys
from pathlib import Path

import pytest

import dev
from tools.environment import Environment, SetupError


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every command that would be run, the environment's name first; they all end with 7."""
    seen: list[tuple[str, ...]] = []

    def run(self: Environment, *arguments: str) -> int:
        seen.append((self.folder.name, *arguments))
        return 7

    monkeypatch.setattr(Environment, "run", run)
    return seen


def test_a_failed_set_up_says_what_to_do_and_ends_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def no_venv(_: Environment) -> None:
        raise SetupError("install python3-venv")

    monkeypatch.setattr(Environment, "set_up", no_venv)
    assert dev.main(["setup"]) == 1
    assert capsys.readouterr().err.endswith("error: install python3-venv\n")


def names(file: Path) -> set[str]:
    """Packages that a requirements file names, its included files left out."""
    lines = (line for line in file.read_text().splitlines() if line and line[0] not in "#-")
    return {re.split(r"[=<> ;]", line)[0].lower().replace("_", "-") for line in lines}


def test_every_requirement_is_pinned():
    wanted = names(dev.REQUIREMENTS / "runtime.txt") | names(dev.REQUIREMENTS / "dev.txt")
    assert wanted <= names(dev.REQUIREMENTS / "constraints.txt")


@pytest.mark.parametrize("host", dev.HOSTS)
def test_every_line_of_a_webuis_requirements_is_a_pin(host: str):
    files = (dev.REQUIREMENTS / f"{host}.txt", dev.REQUIREMENTS / "webui.txt")
    lines = [line for file in files for line in file.read_text().splitlines() if line and line[0] not in "#-"]
    assert all(re.match(r"[a-z0-9-]+==[0-9.]+( ;|$)", line) for line in lines)
    assert names(files[0]).isdisjoint(names(files[1]))


def test_the_help_names_every_command():
    assert all(f"dev.py {command}" in str(dev.__doc__) for command in dev.COMMANDS)


def test_an_unknown_command_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]):
    assert dev.main(["fly"]) == 2
    assert "demo, serve, test, hosts, lint, bench, setup" in capsys.readouterr().err


def test_arguments_reach_the_command_untouched(commands: list[tuple[str, ...]]):
    assert dev.main(["demo", "--seed", "3"]) == 7
    assert commands == [(".venv", "-m", "lib_uniid.miniature.demo", "--seed", "3")]


def test_the_first_failing_check_decides(commands: list[tuple[str, ...]]):
    assert dev.first_failure(["a"], ["b"]) == 7
    assert commands == [(".venv", "a")]


def test_one_webui_may_be_named_and_otherwise_both_are_tried_whatever_the_first_says(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dev, "_python_of_hosts", lambda: sys.executable)
    assert dev.main(["hosts"]) == 7
    assert [command[0] for command in commands] == [".venv-a1111", ".venv-forge"]
    assert all((dev.ROOT / folder).is_dir() for folder in dev.INSIDE)
    commands.clear()
    assert dev.main(["hosts", "forge", "tests/ui", "-x"]) == 7
    assert commands == [(".venv-forge", "-m", "pytest", "tests/ui", "-x")]


def test_the_webuis_environments_are_made_with_a_python_they_run_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(dev.sys, "version_info", (3, 13, 0))
    monkeypatch.setattr(dev.shutil, "which", {"python3.10": "/usr/bin/python3.10"}.get)
    assert dev.inside("forge").made_with == "/usr/bin/python3.10"
    monkeypatch.setattr(dev.shutil, "which", lambda name: None)  # pyright: ignore[reportUnknownLambdaType]
    assert dev.main(["hosts"]) == 1
    assert "need Python 3.11 or 3.10" in capsys.readouterr().err
