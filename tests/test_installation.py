"""Tests of install.py, and of the messages of panel and errors about packages."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lib_uniid import failures, installation
from lib_uniid.errors import MissingPackageError
from lib_uniid.installation import NEEDED, Package, Problem
from lib_uniid.runtime import Runtime
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.html import status

ROOT = Path(__file__).parents[1]
ABSENT = "uniid_absent_module"
NO_SUCH = Package(ABSENT, ABSENT, lambda _: f"{ABSENT}==1")
RunPip = Callable[[str, str], object]
REFUSED = """Couldn't install it.
stderr: WARNING: something else
ERROR: Could not find a version that satisfies the requirement x
ERROR: No matching distribution found for x
"""


@pytest.fixture
def install() -> Any:
    spec = importlib.util.spec_from_file_location("uniid_install", ROOT / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment's site-packages: empty, and outcomes are kept below ``tmp_path``."""
    importlib.import_module("lib_uniid.library.store")  # what is imported later finds no packages
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(
        sys, "path", [*(one for one in sys.path if not one.endswith("-packages")), str(folder)]
    )
    monkeypatch.setattr(installation, "ROOT", tmp_path / "extension")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return folder


def put(packages: Path, name: str, version: str) -> None:
    (packages / f"{name}-{version}.dist-info").mkdir()


# --- which version ---


def test_versions_are_read_off_the_folders_of_pip(packages: Path):
    for entry in ("Pillow-9.5.0.dist-info", "open_clip_torch-2.20.0.dist-info", "torch-2.13.0+cpu.dist-info"):
        (packages / entry).mkdir()
    (packages / "old-1.0-py3.10.egg-info").mkdir()
    (packages / "pillow").mkdir()
    (packages / "~umpy-1.26.2.dist-info").mkdir()  # pip could not remove it
    (packages / "-umpy-1.26.1.dist-info").mkdir()
    expected = {"pillow": "9.5.0", "open-clip-torch": "2.20.0", "torch": "2.13.0+cpu", "old": "1.0"}
    assert installation.installed() == expected


@pytest.mark.parametrize(
    ("protobuf", "arguments"),
    [
        ("3.20.0", "--no-deps onnx==1.16.2"),  # AUTOMATIC1111 v1.10.1 and Forge
        ("3.20.3", "--no-deps onnx==1.16.2"),  # Forge Classic
        ("4.25.9", "onnx==1.20.1"),  # Forge Neo
        ("7.36.2", "onnx==1.20.1"),
    ],
)
def test_onnx_is_the_release_that_the_installed_protobuf_can_read(protobuf: str, arguments: str):
    onnx = next(one for one in NEEDED if one.name == "onnx")
    assert onnx.choose({"protobuf": protobuf}) == arguments


def test_insightface_s_own_requirements_are_no_reason_to_change_a_version():
    assert NEEDED[-1].choose({}) == "--no-deps insightface==2.1"


# --- install.py ---


def stand_for(
    install: Any,
    monkeypatch: pytest.MonkeyPatch,
    needed: Sequence[Package],
    run_pip: Callable[[str, str], object],
) -> None:
    """Other packages are needed, and this is the host's pip."""
    monkeypatch.setattr(install, "NEEDED", needed)
    monkeypatch.setattr(installation, "NEEDED", needed)
    monkeypatch.setattr(install, "launcher", lambda: run_pip)


def test_a_failure_is_tried_again_only_when_the_environment_has_changed(
    install: Any, monkeypatch: pytest.MonkeyPatch, packages: Path, capsys: pytest.CaptureFixture[str]
):
    commands: list[str] = []

    def run_pip(command: str, _: str) -> None:
        commands.append(command)
        raise RuntimeError(REFUSED)

    stand_for(install, monkeypatch, [NO_SUCH], run_pip)
    install.main()
    install.main()
    assert len(commands) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == 2 * [
        f"UniID: {ABSENT} (No matching distribution found for x) does not work; stop this program, run "
        f'this command in a terminal and restart the program: "{sys.executable}" -m pip install {ABSENT}==1'
    ]
    put(packages, "another", "1.0")
    install.main()
    assert len(commands) == 2


def test_without_a_network_the_next_start_tries_again(
    install: Any, monkeypatch: pytest.MonkeyPatch, packages: Path
):
    commands: list[str] = []

    def run_pip(command: str, _: str) -> None:
        commands.append(command)
        raise RuntimeError(
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'\n"
            "ERROR: No matching distribution found for x"
        )

    stand_for(install, monkeypatch, [NO_SUCH, NO_SUCH], run_pip)
    assert {one.reason for one in install.main()} == {"the network did not answer"}
    install.main()
    assert len(commands) == 2


def test_what_was_mended_by_the_command_is_no_problem_after_the_next_start(
    install: Any, monkeypatch: pytest.MonkeyPatch, packages: Path
):
    module = packages / "uniid_broken.py"
    module.write_text("raise ImportError('no libx')")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    needed = [Package("uniid_broken", "uniid_broken", lambda _: "uniid_broken==1")]
    stand_for(install, monkeypatch, needed, lambda command, name: None)
    assert [one.package for one in install.main()] == ["uniid_broken"]
    assert [one.package for one in install.main()] == ["uniid_broken"]
    module.write_text("")
    assert list(install.main()) == []
    assert installation.problems() == ()


def test_every_installed_version_is_a_constraint(
    install: Any, monkeypatch: pytest.MonkeyPatch, packages: Path
):
    for name, version in (
        ("numpy", "1.26.2"),
        ("torch", "2.1.2+cu121"),
        ("of_git", "1-unknown"),
        ("distro_info", "1.1build1"),
    ):
        put(packages, name, version)
    seen: list[str] = []

    def run_pip(command: str, _: str) -> None:
        arguments, _, file = command.partition(" --constraint ")
        seen.extend([arguments, *Path(file.strip('"')).read_text().split()])

    stand_for(install, monkeypatch, [NO_SUCH], run_pip)
    install.main()
    assert seen == [f"install {ABSENT}==1", "numpy==1.26.2", "torch==2.1.2+cu121"]


def test_one_package_that_fails_does_not_keep_the_next_from_being_installed(
    install: Any, monkeypatch: pytest.MonkeyPatch, packages: Path
):
    other = Package("uniid_comes", "uniid_comes", lambda _: "uniid_comes==1")

    def run_pip(command: str, _: str) -> None:
        if ABSENT in command:
            raise RuntimeError(REFUSED)
        (packages / "uniid_comes.py").write_text("")

    monkeypatch.setenv("PYTHONPATH", str(packages))
    stand_for(install, monkeypatch, [NO_SUCH, other, other], run_pip)
    assert [one.package for one in install.main()] == [ABSENT]


def test_what_cannot_be_imported_is_named_with_its_reason_though_it_ends_python(
    install: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    bodies = {
        "uniid_works": "",
        "uniid_raises": "raise ImportError('no libx')",
        "uniid_ends": "import os; os._exit(3)",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    needed = [
        Package(name, name, installation.NEEDED[0].choose)
        for name in ("uniid_ends", "uniid_raises", "uniid_works")
    ]
    assert install.cannot_import(needed) == {
        "uniid_ends": "its import ends Python with code 3",
        "uniid_raises": "ImportError: no libx",
    }


def test_a_library_of_the_system_is_named_where_opencv_lacks_it():
    lacks = installation.problem(NEEDED[0], "ImportError: libGL.so.1: cannot open shared object file")
    assert lacks.command == "apt-get install libgl1 libglib2.0-0"


def test_where_the_extension_is_read_only_the_outcome_is_kept_among_the_caches(
    packages: Path, tmp_path: Path
):
    (tmp_path / "extension").write_text("no folder")
    found = (Problem("x", "because", "pip install x"),)
    installation.remember(found)
    assert installation.recall() == found
    assert installation.state_files()[1].is_file()


def test_a_damaged_outcome_is_found_out_again(packages: Path):
    installation.remember(())
    assert installation.recall() == ()
    installation.state_files()[0].write_text('{"fingerprint": 3')
    assert installation.recall() is None


def test_the_real_packages_of_this_environment_work(install: Any):
    assert install.cannot_import(NEEDED) == {}
    assert installation.problems() == ()


# --- what is said ---


@pytest.fixture
def lacking(packages: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """onnxruntime could not be installed; the command that is to be run by hand."""
    broken = Package("onnxruntime", ABSENT, lambda _: "onnxruntime==1.23.2")
    monkeypatch.setattr(installation, "NEEDED", (broken,))
    installation.remember((installation.problem(broken, "No matching distribution"),))
    return f'"{sys.executable}" -m pip install onnxruntime==1.23.2'


def controller_of(folder: Path) -> PanelController:
    """In front of a folder without model files."""
    return PanelController(Runtime(folder), lambda: None)


def test_the_panel_is_red_and_shows_the_command(lacking: str, tmp_path: Path):
    html = status(controller_of(tmp_path).status())
    assert "onnxruntime (No matching distribution) does not work" in html
    assert f"<code>{lacking.replace(chr(34), '&quot;')}</code>" in html
    assert "uniid-bad" in html


def test_an_upload_is_answered_with_the_command(lacking: str, tmp_path: Path):
    seen, notes = controller_of(tmp_path).see([tmp_path / "anna.png"])
    assert seen == []
    assert lacking in notes[0]


def test_enrolling_is_refused_with_the_command(lacking: str, tmp_path: Path):
    with pytest.raises(MissingPackageError, match="onnxruntime==1"):
        controller_of(tmp_path).enrol("Anna", [])


def test_an_import_that_fails_anywhere_is_answered_with_the_command(lacking: str):
    error = ModuleNotFoundError(f"No module named '{ABSENT}'", name=ABSENT)
    assert lacking in str(failures.sentence(error))


def test_several_packages_are_mended_by_one_command(packages: Path):
    (installation.ROOT).mkdir()
    (installation.ROOT / "install.py").write_text("")
    found = [Problem(name, "missing", f"pip install {name}") for name in ("onnx", "scipy")]
    assert installation.command(found) == f'"{sys.executable}" "{installation.ROOT / "install.py"}" --again'
    os.remove(installation.ROOT / "install.py")
    assert installation.command(found) == "pip install onnx && pip install scipy"
