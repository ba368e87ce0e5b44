"""Files that are whole or not there."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lib_uniid.errors import ConfigError
from lib_uniid.files import exclusive, remove_stale, replacing

WRITER = """
import sys
from pathlib import Path
from lib_uniid.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
"""


def writer(path: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A process that is in the middle of writing, and its temporary file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_files_of_a_killed_writer_are_removed_and_those_of_a_running_one_are_kept(tmp_path: Path):
    dead, left = writer(tmp_path / "a")
    living, kept = writer(tmp_path / "b")
    (tmp_path / "a model.safetensors.part").write_text("a download that goes on later")
    dead.kill()
    dead.wait()
    assert left.exists()
    remove_stale(tmp_path)
    assert not left.exists()
    assert kept.read_text() == "half"
    assert (tmp_path / "a model.safetensors.part").exists()
    living.communicate("")
    assert (tmp_path / "b").read_text() == "half"
    assert {entry.name for entry in tmp_path.iterdir()} == {"b", "a model.safetensors.part"}


def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path):
    dead, left = writer(tmp_path / "a")
    dead.kill()
    dead.wait()
    with replacing(tmp_path / "other") as temporary:
        temporary.write_text("whole")
    assert not left.exists()


def test_bytes_are_on_the_disk_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []
    sync, rename = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert done == ["file", "rename", "folder"]


def test_a_folder_that_another_program_holds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lib_uniid.files.PATIENCE", 0.1)
    inner = exclusive(tmp_path / ".lock")
    with exclusive(tmp_path / ".lock"), pytest.raises(ConfigError, match="another program"):
        inner.__enter__()
    with exclusive(tmp_path / ".lock"):
        pass
