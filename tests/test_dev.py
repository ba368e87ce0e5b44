"""Laws of ``dev.py``: when it sets up, what it mends, what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import dev


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project in which ``dev`` works, with one requirement and a make-believe environment."""
    for name, text in {
        "requirements/dev.txt": "one\n",
        "pyproject.toml": "",
        "tools/torchvision_schemas.py": "",
        str(dev.venv_python(Path(".venv"))): "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(dev, "STAMP", tmp_path / ".venv" / "uniid-stamp")
    monkeypatch.setattr(dev, "REQUIREMENTS", tmp_path / "requirements")
    monkeypatch.setattr(dev, "SCHEMAS", tmp_path / "tools" / "torchvision_schemas.py")
    return tmp_path


def test_an_environment_is_ready_only_with_the_stamp_of_its_requirements(project: Path):
    assert not dev.is_ready()
    dev.STAMP.write_text(dev.fingerprint())
    assert dev.is_ready()
    (project / "requirements" / "dev.txt").write_text("two\n")
    assert not dev.is_ready()


def test_an_environment_without_its_interpreter_is_not_ready(project: Path):
    dev.STAMP.write_text(dev.fingerprint())
    dev.venv_python(dev.VENV).unlink()
    assert not dev.is_ready()


def test_a_ready_environment_is_left_alone(project: Path, monkeypatch: pytest.MonkeyPatch):
    dev.STAMP.write_text(dev.fingerprint())
    started: list[str] = []
    monkeypatch.setattr(dev, "make_venv", lambda: started.append("venv"))
    dev.set_up()
    assert started == []


def test_a_package_that_was_cut_off_is_forgotten_and_a_whole_one_kept(tmp_path: Path):
    whole, cut = tmp_path / "whole-1.dist-info", tmp_path / "cut-1.dist-info"
    for info in (whole, cut):
        info.mkdir()
        (info / "METADATA").write_text("")
    (whole / "INSTALLER").write_text("pip\n")
    dev.drop_half_installed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole-1.dist-info"]


def finished(code: int, complaint: str = "") -> subprocess.CompletedProcess[str]:
    """A process that has ended."""
    return subprocess.CompletedProcess([], code, "", complaint)


@pytest.mark.parametrize(
    ("probe", "hooked"),
    [(finished(0), False), (finished(1, f"Traceback\nRuntimeError: {dev.SCHEMAS_MISSING}\n"), True)],
)
def test_the_torchvision_hook_is_there_only_where_it_is_needed(
    project: Path, monkeypatch: pytest.MonkeyPatch, probe: subprocess.CompletedProcess[str], hooked: bool
):
    monkeypatch.setattr(dev, "capture", lambda code: probe)
    start = project / "torchvision_schemas.pth"
    start.write_text("from an earlier set-up")
    dev.mend_torchvision(project)
    assert start.is_file() == hooked


def test_another_failure_of_torchvision_is_reported(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dev, "capture", lambda code: finished(1, "Traceback\nImportError: no such library\n"))
    with pytest.raises(dev.SetupError, match="no such library"):
        dev.mend_torchvision(project)


def test_a_failed_set_up_says_what_to_do_and_ends_with_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def no_venv() -> None:
        raise dev.SetupError("install python3-venv")

    monkeypatch.setattr(dev, "make_venv", no_venv)
    assert dev.main(["setup"]) == 1
    assert capsys.readouterr().err.endswith("error: install python3-venv\n")


def names(file: Path) -> set[str]:
    """Packages that a requirements file names, its included files left out."""
    lines = (line for line in file.read_text().splitlines() if line and line[0] not in "#-")
    return {re.split(r"[=<> ;]", line)[0].lower().replace("_", "-") for line in lines}


def test_every_requirement_is_pinned():
    wanted = names(dev.REQUIREMENTS / "runtime.txt") | names(dev.REQUIREMENTS / "dev.txt")
    assert wanted <= names(dev.REQUIREMENTS / "constraints.txt")


def test_the_help_names_every_command():
    assert all(f"dev.py {command}" in str(dev.__doc__) for command in dev.COMMANDS)


def test_an_unknown_command_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]):
    assert dev.main(["fly"]) == 2
    assert "demo, serve, test, lint, bench, setup" in capsys.readouterr().err


def test_arguments_reach_the_command_untouched(project: Path, monkeypatch: pytest.MonkeyPatch):
    dev.STAMP.write_text(dev.fingerprint())
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(dev, "python", lambda *arguments: commands.append(arguments) or 7)
    assert dev.main(["demo", "--seed", "3"]) == 7
    assert commands == [("-m", "lib_uniid.miniature.demo", "--seed", "3")]


def test_the_first_failing_check_decides(monkeypatch: pytest.MonkeyPatch):
    codes = {"a": 0, "b": 3, "c": 0}
    ran: list[str] = []
    monkeypatch.setattr(dev, "python", lambda name: ran.append(name) or codes[name])
    assert dev.first_failure(["a"], ["b"], ["c"]) == 3
    assert ran == ["a", "b"]


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
    (tmp_path / "torchvision_schemas.py").write_bytes(dev.SCHEMAS.read_bytes())
    command = [sys.executable, "-c", HOOKED]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(seen)
