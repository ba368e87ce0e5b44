"""Tests of ``dev.py``: its commands, their arguments, and the pins of its environments."""

import re
import sys
from pathlib import Path

import pytest

import dev
from tools import columns
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


def test_a_failed_set_up_prints_a_remedy_and_exits_with_1(
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
def test_a_webui_gets_every_line_of_its_own_file_but_for_torch_and_setuptools(host: str):
    wanted = names(dev.REQUIREMENTS / "hosts" / f"{host}.txt") - {"torch", "setuptools"}
    given = columns.required(host)
    assert {re.split(r"[=;]", line)[0].lower().replace("_", "-") for line in given[:-2]} == wanted
    assert given[-1].startswith("setuptools==")
    assert all("==" in line for line in given)


@pytest.mark.parametrize("host", dev.HOSTS)
def test_what_a_webui_s_requirements_bring_is_pinned(host: str):
    lock = dev.REQUIREMENTS / "hosts" / f"{host}.lock"
    lines = [line for line in lock.read_text().splitlines() if line[0] != "#"]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9A-Za-z.+]+", line) for line in lines)
    assert names(lock).isdisjoint(names(lock.with_suffix(".txt")))
    assert "torch" not in names(lock)


@pytest.mark.parametrize("host", dev.HOSTS)
def test_install_py_runs_after_the_webui_s_requirements_and_before_the_tests(host: str):
    steps = list(columns.environment(host, sys.executable).steps.values())
    installer = steps.index([columns.LAUNCHER])
    assert any("numpy==" in str(one) for step in steps[:installer] for one in step)
    assert not any("inside.txt" in str(one) for step in steps[:installer] for one in step)


def test_what_lacks_its_own_requirements_comes_last_so_that_pip_prints_no_error():
    steps = list(dev.STANDALONE.steps.values())
    lacking = next(place for place, step in enumerate(steps) if "stable-diffusion-sdkit" in step)
    assert all("--no-deps" in step for step in steps[lacking:])


@pytest.mark.parametrize(("version", "numpy"), [("3.10", "2.2.6"), ("3.13", "2.4.6")])
def test_the_pins_of_a_python_are_one_for_each_package(version: str, numpy: str):
    pins = columns.pinned(version)
    assert f"numpy=={numpy}" in pins
    assert len({pin.partition("==")[0] for pin in pins}) == len(pins)


def test_every_pin_has_a_row_for_python_3_10():
    text = (dev.REQUIREMENTS / "constraints.txt").read_text()
    newer = {line.split("==")[0] for line in text.splitlines() if 'python_version >= "3.11"' in line}
    older = {line.split("==")[0] for line in text.splitlines() if 'python_version < "3.11"' in line}
    # Their users have other requirements under Python 3.10.
    assert newer - older == {"httpcore2", "httpx2", "lazy-importer", "truststore"}


def test_the_help_names_every_command():
    assert all(f"dev.py {command}" in str(dev.__doc__) for command in dev.COMMANDS)


def test_an_unknown_command_prints_the_available_commands(capsys: pytest.CaptureFixture[str]):
    assert dev.main(["fly"]) == 2
    assert "demo, serve, test, hosts, pins, lint, bench, setup" in capsys.readouterr().err


def test_arguments_reach_the_command_untouched(commands: list[tuple[str, ...]]):
    assert dev.main(["demo", "--seed", "3"]) == 7
    assert commands == [(".venv", "-m", "miniature.demo", "--seed", "3")]


def test_types_are_checked_beside_the_tests_and_decide_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    seen: set[tuple[str, ...]] = set()

    def run(_: Environment, *arguments: str) -> int:
        seen.add(arguments)
        return 7 if arguments == dev.TYPES else 0

    monkeypatch.setattr(Environment, "run", run)
    assert dev.test([]) == 7
    assert seen == {dev.RUFF, dev.CONTRACTS, dev.TYPES, (*dev.SUITE, "-m", "not slow")}
    assert "the check of types failed" in capsys.readouterr().err


def test_the_first_failing_check_decides(commands: list[tuple[str, ...]]):
    assert dev.first_failure(["a"], ["b"]) == 7
    assert commands == [(".venv", "a")]


def test_one_webui_may_be_named_and_otherwise_all_of_ci_are_tried_after_a_failure_too(
    commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dev, "interpreter", lambda versions: sys.executable)  # pyright: ignore[reportUnknownLambdaType]
    assert dev.main(["hosts"]) == 7
    assert [command[0] for command in commands] == [".venv-a1111", ".venv-forge", ".venv-neo"]
    assert all((dev.ROOT / folder).exists() for folder in dev.INSIDE)
    commands.clear()
    assert dev.main(["hosts", "forge", "tests/ui", "-x"]) == 7
    assert commands == [(".venv-forge", "-m", "pytest", "tests/ui", "-x")]


def test_a_missing_python_version_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(dev, "HOSTS_RUN_ON", ("3.99", "3.98"))
    assert dev.main(["hosts", "neo"]) == 1
    assert "Python 3.99 or 3.98 is needed and was not found" in capsys.readouterr().err
