"""Tests of ``tools/environment.py``: when an environment is made, what is repaired, what is printed."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tools import environment
from tools.environment import Environment, SetupError, drop_half_installed, interpreter


@pytest.fixture
def venv(tmp_path: Path) -> Environment:
    """A make-believe environment with one requirement."""
    pins = tmp_path / "pins.txt"
    pins.write_text("one\n")
    made = Environment(folder=tmp_path / ".venv", steps={"one": ["-r", pins]}, files=[pins])
    made.python.parent.mkdir(parents=True)
    made.python.write_text("")
    return made


def test_an_environment_is_ready_only_with_the_stamp_of_its_requirements(venv: Environment):
    assert not venv.is_ready()
    venv.stamp.write_text(venv.fingerprint())
    assert venv.is_ready()
    assert not replace(venv, steps={**venv.steps, "two": ["two"]}).is_ready()
    venv.files[0].write_text("two\n")
    assert not venv.is_ready()


def test_an_environment_without_its_interpreter_is_not_ready(venv: Environment):
    venv.stamp.write_text(venv.fingerprint())
    venv.python.unlink()
    assert not venv.is_ready()


def test_a_complete_environment_is_not_changed(venv: Environment, monkeypatch: pytest.MonkeyPatch):
    venv.stamp.write_text(venv.fingerprint())
    started: list[object] = []
    monkeypatch.setattr(Environment, "make", started.append)
    venv.set_up()
    assert started == []


def test_a_package_that_was_cut_off_is_forgotten_and_a_whole_one_kept(tmp_path: Path):
    whole, cut = tmp_path / "whole-1.dist-info", tmp_path / "cut-1.dist-info"
    for info in (whole, cut):
        info.mkdir()
        (info / "METADATA").write_text("")
    (whole / "INSTALLER").write_text("pip\n")
    drop_half_installed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole-1.dist-info"]


def executable(path: Path, code: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="needs programs that are scripts of a shell")
def test_an_interpreter_is_searched_on_the_path_and_then_in_pyenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    running = "{}.{}".format(*sys.version_info)
    assert interpreter(["3.99", running]) == sys.executable
    with pytest.raises(SetupError, match=r"Python 3\.99 is needed and was not found"):
        interpreter(["3.99"])
    kept = executable(tmp_path / "versions" / "3.99.1" / "bin" / "python", 0)
    chooses_none = executable(tmp_path / "bin" / "python3.99", 127)
    assert interpreter(["3.99"]) == str(kept)
    executable(chooses_none, 0)
    assert interpreter(["3.99"]) == str(chooses_none)


def finished(code: int, complaint: str = "") -> subprocess.CompletedProcess[str]:
    """A process that has ended."""
    return subprocess.CompletedProcess([], code, "", complaint)


@pytest.mark.parametrize(
    ("probe", "hooked"),
    [
        (finished(0), False),
        (finished(1, f"Traceback\nRuntimeError: {environment.SCHEMAS_MISSING}\n"), True),
    ],
)
def test_the_torchvision_hook_is_there_only_where_it_is_needed(
    venv: Environment,
    monkeypatch: pytest.MonkeyPatch,
    probe: subprocess.CompletedProcess[str],
    hooked: bool,
):
    monkeypatch.setattr(Environment, "capture", lambda self, code: probe)  # pyright: ignore[reportUnknownLambdaType]
    start = venv.folder / "torchvision_schemas.pth"
    start.write_text("from an earlier set-up")
    venv.repair_torchvision(venv.folder)
    assert start.is_file() == hooked


def test_another_failure_of_torchvision_is_reported(venv: Environment, monkeypatch: pytest.MonkeyPatch):
    failed = finished(1, "Traceback\nImportError: no such library\n")
    monkeypatch.setattr(Environment, "capture", lambda self, code: failed)  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(SetupError, match="no such library"):
        venv.repair_torchvision(venv.folder)


# A torch of which torchvision finds only what the hook declares, and the order in which things happen.
FAKE_TORCH = """
class Library:
    def __init__(self, namespace, kind): self.namespace = namespace
    def define(self, schema): setattr(getattr(ops, self.namespace), schema.partition("(")[0], schema)
class ops:
    class torchvision: {known}
class library: Library = Library
"""

HOOKED = """
import sys, torchvision_schemas
import importlib.util
importlib.util.find_spec("torchvision")
assert "torch" not in sys.modules, "torch came before torchvision was wanted"
import torchvision
print(torchvision.seen)
"""


@pytest.mark.parametrize(("known", "seen"), [("pass", "nms(Tensor"), ("nms = 'its own'", "its own")])
def test_the_hook_declares_late_and_only_what_torch_lacks(tmp_path: Path, known: str, seen: str):
    (tmp_path / "torch.py").write_text(FAKE_TORCH.format(known=known))
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("import torch\nseen = torch.ops.torchvision.nms\n")
    (tmp_path / "torchvision_schemas.py").write_bytes(environment.SCHEMAS.read_bytes())
    command = [sys.executable, "-c", HOOKED]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(seen)


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a group of processes")
def test_ctrl_c_is_answered_by_the_command_and_its_exit_code_is_passed_on(tmp_path: Path):
    waiting = "time.sleep(1); print('ready', flush=True); time.sleep(30)"  # both wait when it is ready
    command = f"import time\ntry: {waiting}\nexcept KeyboardInterrupt: time.sleep(1); raise SystemExit(7)"
    code = "import sys; from pathlib import Path; from tools.environment import call\n"
    code += f"sys.exit(call([sys.executable, '-c', {command!r}], Path({str(tmp_path)!r})))"
    program = [sys.executable, "-c", code]
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(program, cwd=root, stdout=subprocess.PIPE, start_new_session=True) as running:
        assert running.stdout
        assert running.stdout.readline() == b"ready\n"
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(timeout=20) == 7
