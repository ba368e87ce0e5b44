"""Tests of searching a models folder: each file once, within a budget, wherever the cache is."""

import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from lib_uniid import caches
from lib_uniid.checkpoints import folder as looking
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.reading import read
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError
from tests.checkpoints.builders import faceid, write
from tests.onnx_pack import write_pack

LORA = {f"lora_unet_{number}.lora_down.weight": torch.zeros(1) for number in range(3)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(caches.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A models folder whose files are not new."""
    root = tmp_path / "models"
    settled(write(root / "uniid" / "faceid.bin", faceid()))
    settled(write(root / "Lora" / "lora.pt", LORA))
    return root


def settled(path: Path, seconds: float = 60) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are looked into from now on."""
    seen: list[str] = []
    real = looking.read_header

    def read_header(path: Path) -> object:
        seen.append(path.name)
        return real(path)

    monkeypatch.setattr(looking, "read_header", read_header)
    return seen


def test_a_file_is_read_once_until_it_changes(root: Path, monkeypatch: pytest.MonkeyPatch):
    seen = reads(monkeypatch)
    for _ in range(2):
        assert ModelFolder(root, also=()).look_up("faceid") == root / "uniid" / "faceid.bin"
    assert sorted(seen) == ["faceid.bin", "lora.pt"]
    settled(write(root / "Lora" / "lora.pt", LORA | {"a": torch.zeros(9)}))
    ModelFolder(root, also=())
    assert sorted(seen) == ["faceid.bin", "lora.pt", "lora.pt"]


def test_a_file_written_just_now_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch):
    write(root / "Lora" / "new.pt", LORA)
    ModelFolder(root, also=())
    seen = reads(monkeypatch)
    ModelFolder(root, also=())
    assert seen == ["new.pt"]


def test_a_damaged_cache_is_ignored(root: Path, own_cache: Path):
    own_cache.mkdir()
    for text in ("", "[" * 100_000, '{"schema": 0}', '{"pages": []}', "\0"):
        (own_cache / "models.json").write_text(text)
        assert ModelFolder(root, also=()).look_up("faceid")


def test_a_cache_that_cannot_be_written_is_done_without(root: Path, own_cache: Path):
    own_cache.write_text("a file where a folder is needed")
    assert ModelFolder(root, also=()).look_up("faceid")


def test_files_beyond_the_time_limit_are_read_next_time(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(looking, "SECONDS", -1.0)
    folder = ModelFolder(root, also=())
    assert [path.name for path in folder.unread] == ["faceid.bin", "lora.pt"]
    monkeypatch.setattr(looking, "SECONDS", 9.0)
    assert ModelFolder(root, also=()).unread == []


def test_the_models_folder_is_searched_before_others(root: Path, monkeypatch: pytest.MonkeyPatch):
    seen = reads(monkeypatch)
    ModelFolder(root, also=())
    assert seen == ["faceid.bin", "lora.pt"]


@pytest.mark.parametrize("name", ["[a]", "a*b", "what?", "{x}"])
def test_a_models_folder_may_have_any_name(root: Path, tmp_path: Path, name: str):
    other = root.rename(tmp_path / name)
    assert ModelFolder(other, also=()).look_up("faceid") == other / "uniid" / "faceid.bin"


def test_caches_go_elsewhere_where_the_models_cannot_be_written(tmp_path: Path, own_cache: Path):
    (tmp_path / "file").touch()
    blocked, free = tmp_path / "file" / "cache", tmp_path / "models" / "uniid" / "cache"
    assert caches.beside(free) == free
    assert caches.beside(blocked).parent == own_cache
    assert caches.beside(blocked) != caches.beside(tmp_path / "file" / "other" / "cache")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write")
def test_caches_go_elsewhere_where_the_models_are_read_only(tmp_path: Path, own_cache: Path):
    (tmp_path / "models").mkdir(mode=0o500)
    assert caches.beside(tmp_path / "models" / "uniid" / "cache").parent == own_cache


# --- numbers ---


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_value_that_is_no_number_is_refused_with_its_tensor(
    tmp_path: Path, value: float, kind: torch.dtype
):
    weight = torch.zeros(3)
    weight[1] = value
    if not weight.to(kind).float().isfinite().all():  # this float8 has no infinity
        save_file({"good": torch.ones(2), "wrong": weight.to(kind)}, tmp_path / "a.safetensors")
        with pytest.raises(UnknownCheckpointError, match=r"a\.safetensors is damaged: wrong holds values"):
            read(tmp_path / "a.safetensors")


def test_weights_of_whole_numbers_are_refused_with_their_tensor(tmp_path: Path):
    content = faceid()
    content["faceid_proj"]["norm_out.bias"] = content["faceid_proj"]["norm_out.bias"].int()
    folder = ModelFolder(write(tmp_path / "models" / "a.bin", content).parent, also=())
    with pytest.raises(CheckpointMismatchError, match=r"faceid_proj\.norm_out\.bias is I32|norm_out\.bias"):
        folder.find("faceid")
    assert "norm_out.bias" in str(next(e for e in folder.report() if e.source.name == "faceid").problem)


def test_the_report_for_doctor_names_a_tensor_that_is_not_finite_and_reads_it_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    content = faceid()
    content["faceid_proj"]["norm_out.bias"][0] = float("nan")
    settled(write(root / "uniid" / "faceid.bin", content))
    for _ in range(2):
        entry = next(e for e in ModelFolder(root, also=()).report(values=True) if e.source.name == "faceid")
        assert not entry.found
        assert "faceid_proj.norm_out.bias holds values that are NaN" in str(entry.problem)
        monkeypatch.setattr("lib_uniid.checkpoints.reading.read", None)  # a second look would fail
    assert ModelFolder(root, also=()).look_up("faceid")


def test_the_report_for_doctor_names_weights_of_a_face_model_that_are_not_finite(root: Path):
    pack = write_pack(root / "insightface" / "models" / "pack")
    spoil(pack / "w600k_r50.onnx")
    entry = next(e for e in ModelFolder(root, also=()).report(values=True) if e.source.name == "insightface")
    assert not entry.found
    assert "w600k_r50.onnx is damaged: spoiled holds values that are NaN" in str(entry.problem)


def test_the_report_for_doctor_lists_unchecked_weights_of_a_face_model(root: Path):
    file = write_pack(root / "insightface" / "models" / "pack") / "det_10g.onnx"
    model = onnx.load(file)
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["many"], value_ints=range(200_001)))
    onnx.save(model, file)
    settled(file)
    for _ in range(2):
        report = {entry.source.name: entry for entry in ModelFolder(root, also=()).report(values=True)}
        assert report["insightface"].found
        assert report["insightface"].unchecked == (
            "det_10g.onnx: weights not checked: more than 200000 fields",
        )
        assert report["faceid"].unchecked == ()


def spoil(file: Path) -> None:
    model = onnx.load(file)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, np.nan], np.float16), "spoiled"))
    onnx.save(model, file)
