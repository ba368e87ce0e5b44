"""Every foreseeable failure is one sentence with the value and the remedy; any other goes to the log file."""

import errno
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from lib_uniid.errors import ConfigError, FileError
from lib_uniid.failures import explain, reading, sentence
from lib_uniid.logs import log_file, record


@pytest.fixture(autouse=True)
def _own_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "platform", "linux")


def raised(code: str, **names: object) -> BaseException:
    """What running ``code`` raises."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any failure is wanted here
        exec(compile(code, "<test>", "exec"), names)
    return caught.value


def said(error: BaseException) -> str:
    words = sentence(error)
    assert words is not None, f"no sentence for {error!r}"
    assert "\n" not in words
    return words


# --- the system ---


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full, out/a.png"),
        (errno.EROFS, "out/a.png cannot be written: its disk is read-only"),
        (errno.EACCES, "out/a.png cannot be opened: permission denied"),
        (errno.EPERM, "out/a.png cannot be changed"),
        (errno.ENOENT, "file or folder out/a.png not found"),
        (errno.ENAMETOOLONG, "the name out/a.png is too long"),
        (errno.EMFILE, "too many files are open"),
        (errno.ELOOP, "out/a.png is a link to itself"),
        (errno.EIO, "the disk reports an error at out/a.png"),
        (errno.EXDEV, "a file cannot be read or written: out/a.png"),
    ],
)
def test_a_failure_of_the_system_names_the_file(number: int, words: str):
    assert words in said(OSError(number, os.strerror(number), "out/a.png"))


def test_a_failure_without_a_file_names_no_file():
    assert "''" not in said(OSError(errno.ENOSPC, "No space left on device"))
    assert "No space left" in said(OSError(errno.ENOSPC, "No space left on device"))
    assert "Cannot load tokenizer" in said(OSError("Cannot load tokenizer for 'x'"))


def test_a_file_where_a_folder_is_needed_is_the_one_that_is_named(tmp_path: Path):
    (tmp_path / "out").write_text("a file")
    for error in (
        raised("path.mkdir(parents=True, exist_ok=True)", path=tmp_path / "out"),
        raised("path.mkdir(parents=True, exist_ok=True)", path=tmp_path / "out" / "more" / "below"),
        raised("path.write_text('')", path=tmp_path / "out" / "a.png"),
    ):
        assert said(error).startswith(f"{tmp_path / 'out'} is a file, and a folder is needed")


def test_a_temporary_file_is_recognised_by_its_folder(tmp_path: Path):
    error = PermissionError(errno.EACCES, "Permission denied", f"{tmp_path}/.00001-7.png.abc.part")
    assert str(tmp_path) in said(error)
    assert ".part" not in said(error)


def test_a_name_of_three_hundred_letters_is_shortened(tmp_path: Path):
    error = raised("path.open()", path=tmp_path / ("x" * 300))
    assert "is too long for this disk" in said(error)
    assert len(said(error)) < 220


def test_the_network_is_not_mistaken_for_a_file():
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    for error in (refused, TimeoutError("timed out")):
        assert "the network did not answer" in said(error)
    assert "the network" not in said(BrokenPipeError(errno.EPIPE, "Broken pipe"))


# --- packages ---


def test_a_missing_package_is_named_as_it_is_installed():
    assert "pip install pyyaml" in said(ModuleNotFoundError("No module named 'yaml'", name="yaml"))
    wrapped = ImportError("Unable to import dependency onnxruntime. ")
    assert said(wrapped).startswith("onnxruntime (it is not installed) does not work; stop this program")
    below = ModuleNotFoundError("No module named 'google.protobuf'", name="google.protobuf")
    assert said(below).startswith("google is not installed")


def test_a_package_that_does_not_load_is_named_with_its_reason(tmp_path: Path):
    package = tmp_path / "site-packages" / "brokenpack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('libfoo.so.1: cannot open shared object file')")
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r}); import brokenpack"
    words = said(raised(code))
    assert words.startswith("brokenpack cannot be imported (libfoo.so.1: cannot open shared object file)")
    assert "pip install brokenpack" in words


@pytest.mark.parametrize(
    "message",
    [
        "numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88",
        "numpy.core.multiarray failed to import",
        "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.3.4",
    ],
)
def test_packages_that_do_not_fit_numpy_are_named(message: str, tmp_path: Path):
    package = tmp_path / "site-packages" / "oldpack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise ValueError({message!r})")
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r}); import oldpack"
    words = said(raised(code))
    assert words.startswith("oldpack was built for a numpy version other than")
    assert "pip install --force-reinstall numpy oldpack" in words


# --- memory ---


def test_the_message_for_too_little_memory_names_what_to_lower():
    for error in (
        MemoryError(),
        raised("numpy.zeros((10**9, 10**6))", numpy=np),
        raised("torch.zeros(10**15)", torch=torch),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 10 GB)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ):
        assert "lower the width and height" in said(error)
    assert "of the graphics card" in said(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert "of this computer" in said(MemoryError())


# --- what comes out of files ---


def test_every_error_of_a_damaged_file_is_a_sentence_with_its_name(tmp_path: Path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"\x80\x04N")
    for code in (
        "pickle.loads(b'\\x80\\x04N')",
        "zipfile.ZipFile(path)",
        "path.read_text(encoding='utf-8')",
        "load(path.read_bytes())",
        "{}['tensor']",
        "int('x')",
        "image.open(path)",
    ):
        names = {"pickle": pickle, "zipfile": zipfile, "path": file, "image": Image, "load": load}
        with pytest.raises(FileError, match=r"weights\.bin"), reading(file):
            exec(code, names)


def test_other_failures_are_not_attributed_to_a_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="as it was"), reading(tmp_path):
        raise ConfigError("as it was")
    with pytest.raises(TypeError), reading(tmp_path):
        raise TypeError


def test_errors_of_libraries_on_damaged_files_are_recognised_by_name():
    assert "damaged" in said(raised("load(b'x' * 20)", load=load))
    assert "ends too early" in said(EOFError("Ran out of input"))
    assert "a file is not text" in said(raised("b'\\xff'.decode()"))
    assert "more pixels" in said(Image.DecompressionBombError("Image size exceeds limit"))
    assert "the characters '写' are not in the encoding" in said(raised("'写'.encode('cp1252')"))


# --- the rest ---


def test_an_error_of_uniid_keeps_its_message_with_escapes_shown():
    assert said(ConfigError("no\n  person '\x1b[2J\udce9'")) == r"no person '\x1b[2J\xe9'"


def test_an_unexpected_failure_has_no_sentence_and_goes_to_the_named_log():
    error = raised("{}['x']")
    assert sentence(error) is None
    words = explain(error, "uniid generate")
    assert "KeyError: 'x'" in words
    assert str(log_file()) in words
    text = log_file().read_text(encoding="utf-8")
    assert "uniid generate" in text
    assert "Traceback" in text
    assert log_file().stat().st_mode & 0o077 == 0
    assert log_file().parent.stat().st_mode & 0o077 == 0


def test_the_log_holds_no_data_of_pictures():
    data = "iVBORw0KGgo" * 500
    record(ValueError(f"bad picture data:image/png;base64,{data} and {bytes([255] * 400)!r}"))
    text = log_file().read_text(encoding="utf-8")
    assert "iVBORw0KGgoiVBORw0KGgo" not in text
    assert r"\xff\xff" not in text
    assert "bad picture" in text


def test_the_log_is_turned_over_before_it_grows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lib_uniid.logs.MAX_BYTES", 2000)
    for number in range(50):
        record(ValueError(f"failure {number}"))
    files = sorted(log_file().parent.iterdir())
    assert [path.name for path in files] == ["uniid.log", "uniid.log.1", "uniid.log.2"]
    assert all(path.stat().st_size <= 2000 for path in files)
    assert "failure 49" in log_file().read_text(encoding="utf-8")


def test_an_unwritable_log_is_reported(tmp_path: Path):
    (tmp_path / "state").write_text("a file")
    assert "could not be written" in explain(KeyError("x"))


def test_explaining_a_failure_imports_nothing_heavy():
    code = "import sys, lib_uniid.failures; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
