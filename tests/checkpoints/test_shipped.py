"""Tests of ``shipped.json``: a models folder describes its own files, and no others."""

import json
import shutil
from pathlib import Path

import pytest

from lib_uniid.checkpoints.shipped import FILE, MAX_TEXT, Shipped
from lib_uniid.errors import UnknownCheckpointError
from lib_uniid.files import sha256

LICENCE = "CC0"
PURPOSE = "measures pictures"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a pack of two files and a third one with a purpose, all of them shipped."""
    for name in ("pack/one.onnx", "pack/two.onnx", "meters.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256(path)}
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    files["meters.safetensors"]["purpose"] = PURPOSE
    (tmp_path / FILE).write_text(json.dumps({"licence": LICENCE, "files": files}), encoding="utf-8")
    return tmp_path


def described(folder: Path) -> Shipped:
    shipped = Shipped.of(folder)
    assert shipped
    return shipped


def test_a_file_is_recognised_by_its_content_in_any_folder(models: Path, tmp_path: Path):
    shipped = described(models)
    copied = tmp_path / "elsewhere" / "meters.safetensors"
    copied.parent.mkdir()
    shutil.copy(models / "meters.safetensors", copied)
    assert shipped.licence == LICENCE
    assert shipped.includes(copied)
    assert shipped.purpose(copied) == PURPOSE
    assert shipped.purpose(models / "pack" / "one.onnx") is None


def test_another_file_of_the_same_name_and_size_is_none_of_them(models: Path):
    path = models / "meters.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    assert not described(models).includes(path)
    assert described(models).purpose(path) is None


def test_a_folder_is_accepted_if_each_of_its_models_is(models: Path):
    shipped = described(models)
    assert shipped.includes(models / "pack")
    (models / "pack" / "three.onnx").write_bytes(b"another")
    assert not shipped.includes(models / "pack")
    (models / "empty").mkdir()
    assert not shipped.includes(models / "empty")
    assert not shipped.includes(models / "nowhere")


def test_a_folder_without_the_file_has_no_description(tmp_path: Path):
    assert Shipped.of(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        '{"files": {}}',
        '{"licence": 1, "files": {}}',
        '{"licence": "", "files": {}}',
        json.dumps({"licence": "x" * (MAX_TEXT + 1), "files": {}}),
        '{"licence": "CC0", "files": {"a.onnx": {"size": 1}}}',
        '{"licence": "CC0", "files": {"a.onnx": 1}}',
        '{"licence": "CC0", "files": [1]}',
        '{"licence": "CC0", "files": {"a.onnx": {"size": 1e999, "sha256": "0"}}}',
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str):
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(UnknownCheckpointError, match=FILE):
        Shipped.of(tmp_path)
