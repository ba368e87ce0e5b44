"""``uniid`` at a terminal: early errors, output in any encoding, and what an interruption keeps."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_uniid.cli import main
from lib_uniid.config import GenerationSettings
from lib_uniid.hosts.diffusers.host import DiffusersHost
from miniature import MODELS
from tests.red_faces import red_face_picture
from tests.standalone import needs_standalone_page

PROGRAM = (sys.executable, "-m", "lib_uniid.cli")
QUICK = ("--steps", "2", "--seed", "7", "--device", "cpu")
ROOT = Path(__file__).resolve().parents[1]
SECONDS = 120
"""How long a page may take to start and end; machines that run tests are often busy."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the test's own; no log is written outside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def uniid(*arguments: str | bytes, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program as a person does."""
    environment = {**os.environ, **variables}
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, check=False, env=environment)


def one_sentence(done: subprocess.CompletedProcess[bytes]) -> str:
    words = done.stderr.decode()
    assert (done.returncode, words.count("\n")) == (2, 1), words
    assert words.startswith("uniid: ")
    return words


# --- at once ---


@pytest.mark.parametrize(
    "arguments",
    [
        ("faces", "nothing.png"),
        ("enrol", "Anna", "nothing.png"),
        ("generate", "a park", "--person", "Anna=nothing.png"),
        ("generate", "a park", "--from", "nothing.png"),
        ("generate", "a park", "--style-from", "nothing.png"),
        ("generate", "a park", "--person", "Anna", "--mask", "Anna=nothing.png"),
        ("generate", "a park", "--base", "nothing.png"),
        ("serve", "--base", "nothing.png"),
        ("generate", "a park", "--out", "file/out"),
        ("enrol", "Anna", "anna.png", "--library", "file"),
        ("serve", "--out", "file"),
        ("generate", "a park", "--library", "file"),
        ("fetch", "nothing", "--models", "models"),
        ("faces", "anna.png", "--models", "nothing"),
        ("enrol", "Anna", "anna.png", "--models", "file"),
        ("generate", "a park", "--models", "nothing"),
        ("generate", "a park", "--models", "file-less"),
        ("faces", "anna.png", "--models", "file-less"),
        ("enrol", "Anna", "anna.png", "--models", "file-less"),
    ],
    ids=" ".join,
)
def test_an_unusable_file_is_reported_before_anything_heavy_is_imported(
    here: Path, arguments: tuple[str, ...]
):
    (here / "file").write_text("a file")
    (here / "file-less").mkdir()
    Image.new("RGB", (8, 8)).save(here / "anna.png")
    code = f"import sys; from lib_uniid.cli import main; code = main({list(arguments)!r}); "
    code += "print(code, {'torch', 'gradio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 set()\n"
    assert re.match(r"uniid: .*(nothing|file)", done.stderr)


def test_a_port_that_is_taken_or_invalid_is_reported(here: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        words = one_sentence(uniid("serve", "--port", port, "--models", "models"))
    assert f"port {port} is in use by another program; choose another with --port" in words
    words = one_sentence(uniid("serve", "--port", "70000"))
    assert "a port is a number from 1 to 65535, got '70000'" in words


# --- how it is said ---


def test_a_command_line_that_makes_no_sense_is_one_line_and_a_hint():
    assert one_sentence(uniid("genrate")).endswith("see uniid --help\n")
    assert one_sentence(uniid("generate")).endswith("see uniid generate --help\n")
    words = one_sentence(uniid("generate", "a", "--steps", "many"))
    assert words.endswith("--steps: must be a whole number, got 'many'; see uniid generate --help\n")
    assert "\\x1b" in one_sentence(uniid("faces", "a.png", "--\x1b[2J"))


def test_help_shows_every_default():
    words = " ".join(uniid("generate", "--help").stdout.decode().split())
    options = words.partition("show this help message and exit")[2]
    for option in re.split(r" (?=--)", options)[1:]:
        flag = not re.match(r"--[\w-]+ [\[A-Z]|--routing \{", option)
        repeated = re.match(r"--(person|mix|mask|from|style-from) ", option)
        assert flag or repeated or "(default: " in option, option


def test_a_closed_output_pipe_gives_no_traceback():
    command = f"{' '.join(PROGRAM)} doctor --models . | head -1"
    words = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert words.stdout.startswith("uniid ")
    assert "Traceback" not in words.stderr
    assert words.stderr in {"", "uniid: the output was closed before everything was written\n"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_for_the_output_is_reported():
    command = [*PROGRAM, "doctor", "--models", "."]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert "No space left on device" in one_sentence(done)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_names_reach_a_terminal_of_any_encoding(here: Path, encoding: str):
    (here / "写真\x1b[2J").mkdir()
    done = uniid("doctor", "--models", "写真\x1b[2J", PYTHONIOENCODING=encoding)
    words = done.stdout.decode(encoding)
    assert done.returncode == 1
    assert done.stderr == b""
    shown = "写真" if encoding == "utf-8" else r"\u5199\u771f"
    assert f"models in {shown}\\x1b[2J" in words
    assert "\x1b" not in words
    done = uniid("doctor", "--models", "写真\x1b[2J", "--json", PYTHONIOENCODING=encoding)
    assert json.loads(done.stdout)["models"] == "写真\x1b[2J"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_name_in_bytes_is_shown(here: Path, encoding: str):
    assert r"caf\xe9.png" in one_sentence(uniid("faces", b"caf\xe9.png", PYTHONIOENCODING=encoding))
    (here / os.fsdecode(b"caf\xe9")).mkdir()
    done = uniid("doctor", "--models", b"caf\xe9", PYTHONIOENCODING=encoding)
    assert rb"models in caf\xe9" in done.stdout
    assert uniid("generate", "--help", UNIID_MODELS=os.fsdecode(b"caf\xe9")).returncode == 0


def test_the_faces_of_pictures_with_any_name_are_listed_on_any_terminal(
    models: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("写真.png", os.fsdecode(b"caf\xe9.png"), "a\x1b[2J.png"):
        Image.fromarray(red_face_picture((64, 64))).save(name)
        for more in ((), ("--json",)):
            terminal = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
            monkeypatch.setattr(sys, "stdout", terminal)
            assert main(["faces", name, "--models", str(models), *more]) == 0
            assert b"\x1b" not in terminal.buffer.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_an_unexpected_failure_names_the_log_file_and_shows_no_traceback(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def break_down(*_: object) -> None:
        raise RuntimeError("nobody\x1b[2J saw this coming")

    monkeypatch.setattr("lib_uniid.checkpoints.folder.ModelFolder.__init__", break_down)
    assert main(["doctor", "--models", str(here)]) == 70
    words = capsys.readouterr().err
    assert words.startswith("uniid: an unexpected failure: RuntimeError: nobody\\x1b[2J saw this coming; ")
    assert words.count("\n") == 1
    log = re.search(r"last entry of (.*)$", words)
    assert log
    assert "uniid doctor" in Path(log[1]).read_text(encoding="utf-8")


# --- finished work ---


def sampling(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> None:
    """Call ``before`` with the number of the pass, from 1, at the start of each."""
    original, passes = DiffusersHost.sample, iter(range(1, 100))

    def sample(host: DiffusersHost, settings: GenerationSettings, *more: Any, **options: Any) -> Any:
        before(next(passes))
        return original(host, settings, *more, **options)

    monkeypatch.setattr(DiffusersHost, "sample", sample)


def stop_at(number: int, error: BaseException) -> Callable[[int], None]:
    def before(reached: int) -> None:
        if reached == number:
            raise error

    return before


def test_ctrl_c_in_a_series_keeps_and_names_what_is_finished(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    sampling(monkeypatch, stop_at(3, KeyboardInterrupt()))
    series = ["generate", "a park", *QUICK, "--pictures", "4", "--models", str(models)]
    assert main([*series, "--json"]) == 130
    result = json.loads(capsys.readouterr().out)
    assert [picture["seed"] for picture in result["pictures"]] == [7, 8]
    assert result["interrupted"]
    assert sorted(path.name for path in (here / "out").iterdir()) == ["00001-7.png", "00002-8.png"]
    sampling(monkeypatch, stop_at(2, KeyboardInterrupt()))
    assert main(series) == 130
    words = capsys.readouterr().out
    assert "00003-7.png (seed 7)" in words
    assert "interrupted: 1 of 4 pictures are finished and kept" in words


def test_ctrl_c_while_other_seeds_are_tried_keeps_the_best_so_far(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    Image.fromarray(red_face_picture((64, 64))).save("anna.png")
    sampling(monkeypatch, stop_at(2, KeyboardInterrupt()))
    person = ("--person", "Anna=anna.png", "--retries", "3")
    assert main(["generate", "a park", *person, *QUICK, "--models", str(models), "--json"]) == 130
    (picture,) = json.loads(capsys.readouterr().out)["pictures"]
    assert Path(picture["path"]).is_file()


def test_a_failure_in_a_series_keeps_and_names_what_is_finished(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    sampling(monkeypatch, stop_at(2, MemoryError()))
    assert main(["generate", "a park", *QUICK, "--pictures", "2", "--models", str(models)]) == 2
    words = capsys.readouterr().err
    assert "finished and kept: out/00001-7.png\n" in words
    assert words.endswith("or close other programs\n")


def test_a_folder_that_is_lost_while_a_picture_is_made_does_not_lose_the_picture(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def lose_the_folder(_pass: int) -> None:
        (here / "out").write_text("in the way")

    sampling(monkeypatch, lose_the_folder)
    assert main(["generate", "a park", *QUICK, "--models", str(models), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    path = Path(result["pictures"][0]["path"])
    assert np.asarray(Image.open(path)).shape == (128, 128, 3)
    assert "out is a file, and a folder is needed" in result["notes"][-1]
    assert str(path.parent) in result["notes"][-1]
    path.unlink()
    path.parent.rmdir()


def test_seed_minus_one_draws_one(models: Path, capsys: pytest.CaptureFixture[str]):
    quick = ("--steps", "1", "--width", "64", "--height", "64", "--cfg-scale", "1")
    seeds: set[int] = set()
    for _ in range(2):
        assert main(["generate", "a park", *quick, "--seed", "-1", "--models", str(models), "--json"]) == 0
        seeds.add(json.loads(capsys.readouterr().out)["pictures"][0]["seed"])
    assert len(seeds) == 2
    assert min(seeds) >= 0


@contextmanager
def page(*arguments: str) -> Generator[subprocess.Popen[str]]:
    """A running page; one that does not end by itself is killed, and its tests fail instead of waiting."""
    with subprocess.Popen([*PROGRAM, "serve", *arguments], stderr=subprocess.PIPE, text=True) as process:
        limit = threading.Timer(SECONDS, process.kill)
        limit.start()
        yield process
        assert process.wait(timeout=SECONDS) == 0
        limit.cancel()


def said(page: subprocess.Popen[str], words: str) -> str:
    """Wait for the line in which these words stand."""
    assert page.stderr
    return next(line for line in page.stderr if words in line)


def interrupted(page: subprocess.Popen[str]) -> str:
    """What a page says after Ctrl+C."""
    assert page.stderr
    page.send_signal(signal.SIGINT)
    return page.stderr.read()


@needs_standalone_page
@pytest.mark.slow
def test_ending_the_page_with_ctrl_c_is_no_failure(models: Path):
    with page("--models", str(models)) as one:
        assert "127.0.0.1" in said(one, "UniID is at")
        assert "Traceback" not in interrupted(one)


@needs_standalone_page
@pytest.mark.slow
def test_the_page_shows_the_domain_note_at_its_start(here: Path):
    with page("--models", str(MODELS), "--out", str(here / "out")) as one:
        said(one, "UniID is at")
        assert one.stderr
        assert "are for drawn faces only" in one.stderr.readline()
        interrupted(one)
