"""Tests of ``uniid doctor`` and ``uniid fetch``."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.sources import sources
from lib_uniid.cli import main
from lib_uniid.runtime import Runtime
from lib_uniid.ui.status import status_of
from miniature import MODELS
from tests import narrow_uniid
from tests.commands.conftest import QUICK
from tests.hub import running


def test_the_doctor_finds_every_file_with_its_size_hash_and_licence(uniid: Callable[..., Any]):
    report = uniid("doctor", "--hash", library=False)
    assert report["ready"]
    found = {file["name"]: file for file in report["files"] if file["found"]}
    assert found.keys() == {"base", "faceid", "router", "curricularface", "clip_vision", "insightface"}
    assert len(found["faceid"]["sha256"]) == 64
    assert found["faceid"]["size"] > 0
    assert all(file["licence"] for file in report["files"])
    assert report["packages"]["torch"]


def test_doctor_lists_missing_files_with_their_sources(here: Path, capsys: pytest.CaptureFixture[str]):
    for folder in (here, here / "nowhere"):
        assert main(["doctor", "--models", str(folder)]) == 1
        words = capsys.readouterr().out
        (line,) = [line for line in words.splitlines() if "uniportrait-faceid_sd15.bin" in line]
        assert line == (
            "  MISSING: faceid (generates with one person), 224 MB: uniportrait-faceid_sd15.bin from"
            f" https://huggingface.co/Junjie96/UniPortrait into {folder / 'uniid'} (licence: Apache-2.0)"
        )
        missing = [line for line in words.splitlines() if "MISSING: " in line or "optional: " in line]
        assert len(missing) == len(sources())
        assert all(" into " in line and " MB: " in line for line in missing[1:])
        (own,) = [line for line in missing[1:] if " from https://" not in line]
        assert "missing, optional: uniid_router (" in own
        assert "uniid fetch downloads the missing files" in words
        assert words.endswith("not ready to generate yet: files or packages are missing\n")


def test_the_files_of_one_method_and_its_base_model_are_enough(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    folder = narrow_uniid.write_models(here / "models")

    def doctor() -> tuple[bool, set[str]]:
        """Whether it is ready, and what is missing."""
        code = main(["doctor", "--models", str(folder), "--json"])
        report = json.loads(capsys.readouterr().out)
        assert report["ready"] is (code == 0)
        return report["ready"], {one["name"] for one in report["files"] if one["needed"] and not one["found"]}

    assert doctor() == (True, set())
    assert status_of(Runtime(folder), None, ()).method == "UniID"
    assert not status_of(Runtime(folder), None, ()).lacks
    (folder / "uniid" / "uniid-text_branch_sdxl.safetensors").unlink()
    assert doctor() == (True, set())
    (folder / "uniid" / "uniid-adapter_branch_sdxl.safetensors").unlink()
    assert doctor() == (False, {"text_branch", "adapter_branch"})
    lacks = {one.name for one in status_of(Runtime(folder), None, ()).lacks}
    assert lacks == {"text_branch", "adapter_branch"}


def test_doctor_lists_every_shipped_file_with_its_licence(here: Path, capsys: pytest.CaptureFixture[str]):
    copied = here / "models"
    shutil.copytree(MODELS, copied)
    for folder in (MODELS, copied):
        assert main(["doctor", "--models", str(folder)]) == 0
        words = capsys.readouterr().out
        assert "not used" not in words
        assert f"{folder}/uniid/meters.safetensors: measures pictures" in words
        found = [line for line in words.splitlines() if " MB; licence: " in line]
        assert len(found) == 9
        assert all("trained by this project" in line for line in found)
    with (copied / "uniid" / "uniportrait-faceid_sd15.safetensors").open("ab") as other:
        other.write(b" ")  # no longer ours
    main(["doctor", "--models", str(copied), "--json"])
    files = {file["name"]: file for file in json.loads(capsys.readouterr().out)["files"]}
    assert files["faceid"]["licence"] == "Apache-2.0"
    (copied / "shipped.json").write_text("[]", encoding="utf-8")
    main(["doctor", "--models", str(copied)])
    assert f"{copied / 'shipped.json'} cannot be read" in capsys.readouterr().out


def test_doctor_names_an_invalid_file_in_the_models_folder(here: Path, capsys: pytest.CaptureFixture[str]):
    folder = here / "wrong"
    (folder / "uniid").mkdir(parents=True)
    (folder / "uniid" / "mine.safetensors").write_bytes(b"{")
    main(["doctor", "--models", str(folder)])
    assert "mine.safetensors is a file that cannot be read" in capsys.readouterr().out


def test_doctor_lists_unchecked_weights(models: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    folder = here / "models"
    shutil.copytree(models, folder)
    file = next(folder.rglob("det_10g.onnx"))
    model = onnx.load(file)
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["many"], value_ints=range(200_001)))
    onnx.save(model, file)
    assert main(["doctor", "--models", str(folder)]) == 0
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "det_10g.onnx: weights not checked: more than 200000 fields" in said


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older PyTorch"])
def test_one_flipped_bit_in_a_lora_beside_disables_nothing(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str], zipped: bool
):
    folder, chance = here / "models", random.Random(7)
    shutil.copytree(models, folder)
    good = here / "good.pt"
    lora = {f"lora_unet_{number}.lora_down.weight": torch.ones(2, 2) for number in range(3)}
    torch.save(lora, good, _use_new_zipfile_serialization=zipped)
    (folder / "Lora").mkdir()
    for place in chance.sample(range(8 * good.stat().st_size), 60):
        data = bytearray(good.read_bytes())
        data[place // 8] ^= 1 << place % 8
        (folder / "Lora" / f"bit {place}.pt").write_bytes(data)
    index = ModelFolder(folder, also=())
    assert not index.unread
    assert {row.name: index.look_up(row.name) is None for row in sources()} == {
        row.name: ModelFolder(models, also=()).look_up(row.name) is None for row in sources()
    }
    assert main(["doctor", "--models", str(folder)]) == 0
    assert "ready to generate" in capsys.readouterr().out
    assert main(["generate", "a park", *QUICK, "--models", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"]


def test_fetch_downloads_into_the_given_models_folder(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    models = here / "fetched"
    with running() as hub:
        hub.files["/Junjie96/UniPortrait/resolve/main/uniportrait-router_sd15.bin"] = b"weights"
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("UNIID_OFFLINE", "0")
        assert main(["fetch", "router", "--models", str(models)]) == 0
        assert (models / "uniid" / "uniportrait-router_sd15.bin").read_bytes() == b"weights"
        monkeypatch.setenv("UNIID_OFFLINE", "1")
        assert main(["fetch", "faceid", "--models", str(models)]) == 2
    assert "downloads are off while UNIID_OFFLINE" in capsys.readouterr().err
    assert main(["fetch", "everything", "--models", str(models)]) == 2
    assert re.search(
        "unknown model file 'everything'; choose from insightface, .*faceid, router", capsys.readouterr().err
    )
