"""Tests of reading a weights file's header: its type, and that none of its code is run."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lib_uniid.checkpoints import pickled
from lib_uniid.checkpoints.header import read_header
from lib_uniid.checkpoints.reading import read
from lib_uniid.errors import MissingModelError, UnknownCheckpointError
from tests.checkpoints.builders import Hostile, hostile_pickle, write

WEIGHT = torch.arange(6.0).reshape(2, 3)
STATE = {"a": {"weight": WEIGHT, "bias": torch.zeros(2).half()}, "b": torch.tensor(3)}
SHAPES = {"a.weight": (2, 3), "a.bias": (2,), "b": ()}


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(f"archive/{name.replace('_', '.')}", data)
    return buffer.getvalue()


# --- what is there ---


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pytorch_file_shows_its_tensors_by_flat_name(tmp_path: Path, legacy: bool):
    path = write(tmp_path / "a.bin", STATE, _use_new_zipfile_serialization=not legacy)
    assert read_header(path).shapes == SHAPES


def test_a_safetensors_file_shows_its_tensors_and_metadata(tmp_path: Path):
    save_file({"a.weight": torch.zeros(2, 3)}, tmp_path / "a.bin", {"made": "here"})
    header = read_header(tmp_path / "a.bin")
    assert (header.container, header.shapes, header.metadata) == (
        "safetensors",
        {"a.weight": (2, 3)},
        {"made": "here"},
    )


def test_parameters_ordered_dictionaries_and_numbers_are_no_obstacle(tmp_path: Path):
    content = OrderedDict(weight=nn.Parameter(torch.zeros(4)), epoch=3, name="x", sizes=[1, 2])
    path = write(tmp_path / "a.pt", content)
    assert read_header(path).shapes == {"weight": (4,)}
    assert read(path).keys() == {"weight"}


def test_a_module_s_own_state_dict_is_read(tmp_path: Path):
    path = write(tmp_path / "a.pt", nn.BatchNorm2d(3).state_dict())
    assert read_header(path).shapes["running_var"] == (3,)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_as_they_were_saved(tmp_path: Path, legacy: bool):
    state = read(write(tmp_path / "a.bin", STATE, _use_new_zipfile_serialization=not legacy))
    assert state.keys() == SHAPES.keys()
    assert torch.equal(state["a.weight"], WEIGHT)
    assert state["a.bias"].dtype == torch.float16


# --- what is no weights file ---


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\n  <html>", "web page"),
        (b'{"error":"Repository not found"}', "web page"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x89PNG\r\n\x1a\n", "PNG picture"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"some words", "not a weights file"),
        (struct.pack("<Q", 2**60) + b'{"a":1}', "damaged or truncated safetensors"),
        (struct.pack("<Q", 7) + b'{"a":1}', "damaged or truncated safetensors"),
        (zipped(readme_txt=b"hello"), "zip archive"),
        (pickle.dumps([1, 2], protocol=2), "not of PyTorch weights"),
        (b"\x80\x02}q\x00", "truncated or damaged PyTorch"),
        (zipped(data_pkl=pickle.dumps([1, 2], protocol=2)), "not hold a dictionary of tensors"),
        (zipped(data_pkl=b"\x80\x02garbage"), "truncated or damaged PyTorch"),
    ],
)
def test_the_message_for_another_file_type_names_that_type(tmp_path: Path, data: bytes, says: str):
    path = tmp_path / "face.bin"
    path.write_bytes(data)
    for look in (read_header, read):
        with pytest.raises(UnknownCheckpointError, match=says) as raised:
            look(path)
        assert "face.bin" in str(raised.value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, kept: float):
    path = tmp_path / "a.bin"
    if kind == "safetensors":
        save_file({"a": torch.zeros(1000)}, path)
    else:
        write(path, {"a": torch.zeros(1000)}, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UnknownCheckpointError):
        read(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(MissingModelError, match=r"none\.bin"):
        read_header(tmp_path / "none.bin")
    with pytest.raises(UnknownCheckpointError, match="not a file; choose the weights file in it"):
        read_header(tmp_path)


# --- what is hostile ---


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare"])
def test_a_hostile_pickle_is_named_and_not_run(tmp_path: Path, kind: str):
    trace, path = tmp_path / "was run", tmp_path / "a.bin"
    if kind == "bare":
        path.write_bytes(hostile_pickle(trace))
    else:
        write(path, {"weights": Hostile(trace)}, _use_new_zipfile_serialization=kind == "zip")
    for look in (read_header, read):
        with pytest.raises(UnknownCheckpointError, match="would run"):
            look(path)
    assert not trace.exists()


def test_the_hostile_pickle_would_really_run(tmp_path: Path):
    pickle.loads(hostile_pickle(tmp_path / "was run"))
    assert (tmp_path / "was run").exists()


@pytest.mark.parametrize(
    "name", ["os system", "builtins eval", "torch load", "torch.storage _load_from_bytes"]
)
def test_every_name_that_tensors_do_not_need_is_refused(tmp_path: Path, name: str):
    module, _, function = name.partition(" ")
    path = tmp_path / "a.bin"
    path.write_bytes(zipped(data_pkl=f"c{module}\n{function}\n(S'x'\ntR.".encode()))
    with pytest.raises(UnknownCheckpointError, match=f"would run {module}.{function}"):
        read_header(path)


def test_a_dictionary_that_contains_itself_is_refused(tmp_path: Path):
    content: dict[str, object] = {}
    content["a"] = content
    path = tmp_path / "a.bin"
    path.write_bytes(zipped(data_pkl=pickle.dumps(content, protocol=2)))
    with pytest.raises(UnknownCheckpointError, match="more nested dictionaries"):
        read_header(path)


def test_dictionaries_that_unfold_without_end_are_refused(tmp_path: Path):
    content: dict[str, object] = {}
    for _ in range(6):
        content = {str(number): content for number in range(100)}
    path = tmp_path / "a.bin"
    path.write_bytes(zipped(data_pkl=pickle.dumps(content, protocol=2)))
    with pytest.raises(UnknownCheckpointError, match="more nested dictionaries"):
        read_header(path)


def test_two_tensors_of_one_flat_name_are_refused(tmp_path: Path):
    path = write(tmp_path / "a.bin", {"a": {"b": torch.zeros(1)}, "a.b": torch.zeros(1)})
    with pytest.raises(UnknownCheckpointError, match=r"a\.b twice"):
        read_header(path)


def test_a_pickle_of_unreasonable_length_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pickled, "MAX_PICKLE", 10)
    with pytest.raises(UnknownCheckpointError, match="too long"):
        read_header(write(tmp_path / "a.bin", STATE))


def test_a_compressed_archive_is_refused(tmp_path: Path):
    path = tmp_path / "a.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + bytes(10**6))
    with pytest.raises(UnknownCheckpointError, match="compressed"):
        read_header(path)
