"""Tests of a models folder: files are found by content, and missing files are reported with a remedy."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from safetensors.torch import save_file

from lib_uniid.bases import SD15, SDXL
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.reading import read
from lib_uniid.checkpoints.sources import source, sources
from lib_uniid.checkpoints.walking import candidates
from lib_uniid.errors import CheckpointMismatchError, MissingModelError
from lib_uniid.files import sha256
from lib_uniid.onnx_header import OnnxHeader, read_onnx_header
from lib_uniid.plugins import plugins
from tests.checkpoints.builders import faceid, write, write_all
from tests.onnx_pack import write_pack

BASE = {
    "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3),
    "cond_stage_model.transformer.text_model.final_layer_norm.bias": torch.zeros(4),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_all(tmp_path_factory.mktemp("models"))
    save_file(BASE, root / "base.safetensors")
    write_pack(root / "insightface" / "models" / "any name")
    return root


def test_every_file_is_found_under_any_name(whole: Path):
    folder = ModelFolder(whole)
    found = {row.name: folder.find(row.name).relative_to(whole).as_posix() for row in sources()}
    assert found == {
        "base": "base.safetensors",
        "faceid": "a/one.bin",
        "router": "b/two.pt",
        "curricularface": "three.pth",
        "clip_vision": "c/encoder/four.bin",
        "iresnet100": "iresnet100/five.bin",
        "text_branch": "text_branch/five.bin",
        "adapter_branch": "adapter_branch/five.bin",
        "uniid_router": "uniid_router/five.bin",
        "insightface": "insightface/models/any name",
    }


def test_the_report_has_sizes_and_digests_of_found_files(whole: Path):
    report = {entry.source.name: entry for entry in ModelFolder(whole).report(sha256=True)}
    assert all(entry.found for entry in report.values())
    assert report["faceid"].size == (whole / "a" / "one.bin").stat().st_size
    assert report["faceid"].sha256 == sha256(whole / "a" / "one.bin")
    assert report["insightface"].size == sum(
        file.stat().st_size for file in (whole / "insightface").rglob("*.onnx")
    )
    assert ModelFolder(whole).report()[0].sha256 is None


def test_a_missing_file_is_reported_with_its_purpose_and_source(tmp_path: Path):
    folder = ModelFolder(tmp_path)
    for row in sources():
        with pytest.raises(MissingModelError) as raised:
            folder.find(row.name)
        assert row.purpose in str(raised.value)
        assert row.repository in str(raised.value)
    assert not any(entry.found for entry in folder.report())


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(MissingModelError, match=r"models folder .* not found"):
        ModelFolder(tmp_path / "none")


def test_a_damaged_file_is_reported_and_refused(tmp_path: Path):
    content = faceid()
    del content["faceid_proj"]["norm_out.bias"]
    write(tmp_path / "a.bin", content)
    folder = ModelFolder(tmp_path)
    entry = next(entry for entry in folder.report() if entry.source.name == "faceid")
    assert not entry.found
    assert entry.problem is not None
    assert "norm_out.bias" in entry.problem
    with pytest.raises(CheckpointMismatchError, match=r"norm_out\.bias"):
        folder.find("faceid")


def test_a_whole_file_is_preferred_to_a_damaged_one_and_safetensors_to_a_pickle(tmp_path: Path):
    damaged = faceid()
    del damaged["faceid_proj"]["norm_out.bias"]
    write(tmp_path / "1.bin", damaged)
    write(tmp_path / "2.bin", faceid())
    assert ModelFolder(tmp_path).find("faceid").name == "2.bin"
    save_file(read(tmp_path / "2.bin"), tmp_path / "3.safetensors")
    assert ModelFolder(tmp_path).find("faceid").name == "3.safetensors"


def test_files_of_no_use_are_passed_over(tmp_path: Path):
    (tmp_path / "page.safetensors").write_text("<html>")
    (tmp_path / "empty.bin").touch()
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07nonsense")
    (tmp_path / "dangling.bin").symlink_to(tmp_path / "nowhere")
    assert not any(entry.path for entry in ModelFolder(tmp_path).report())


def test_a_diffusers_folder_is_a_base_and_that_of_the_first_family_is_preferred(tmp_path: Path):
    for name, kind in (("a-sdxl", "StableDiffusionXLPipeline"), ("sd15", "StableDiffusionPipeline")):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    folder = ModelFolder(tmp_path)
    assert folder.find("base") == tmp_path / "sd15"
    assert [folder.base(tmp_path / name) for name in ("sd15", "a-sdxl", "absent")] == [SD15, SDXL, None]
    shutil.rmtree(tmp_path / "sd15")
    assert ModelFolder(tmp_path).find("base") == tmp_path / "a-sdxl"


def test_the_usual_folders_of_registered_files_are_searched_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = sources()[0]
    row = replace(source, placed="zoo/apes", folders=("yard",))
    monkeypatch.setattr("lib_uniid.checkpoints.walking.sources", lambda: (row,))
    for name in ("attic", "yard", "zoo"):
        (tmp_path / name).mkdir()
    assert [one.name for one in candidates(tmp_path)][1:] == ["yard", "zoo", "attic"]


def test_a_pack_that_also_recognises_is_preferred(tmp_path: Path):
    write_pack(tmp_path / "a", recogniser=False)
    write_pack(tmp_path / "b")
    assert ModelFolder(tmp_path).find("insightface") == tmp_path / "b"
    shutil.rmtree(tmp_path / "b")
    assert ModelFolder(tmp_path).find("insightface") == tmp_path / "a"


@pytest.fixture
def packs_of_a_plugin(own_plugins: None) -> Callable[[Callable[[Any], Any]], None]:
    """Registers a source ``eyes`` of a plugin of that name, with this ``pack``."""

    def add(pack: Callable[[Any], Any]) -> None:
        row = replace(sources()[0], name="eyes", pack=pack)

        def register_checkpoint_formats(register: Callable[[object], None]) -> None:
            register(row)

        hook = SimpleNamespace(register_checkpoint_formats=register_checkpoint_formats)
        plugins().register(hook, name="eyes")

    return add


def test_a_folder_is_of_every_source_that_recognises_it(
    tmp_path: Path, packs_of_a_plugin: Callable[[Callable[[Any], Any]], None]
):
    packs_of_a_plugin(lambda roles: len({*roles} & {"det_10g.onnx"}))
    write_pack(tmp_path / "a")
    folder = ModelFolder(tmp_path)
    assert [folder.look_up(name) for name in ("eyes", "insightface")] == [tmp_path / "a"] * 2


@pytest.mark.parametrize("pack", [lambda _: 1 // 0, lambda _: "yes"])
def test_a_source_that_fails_switches_its_plugin_off_and_the_search_goes_on(
    tmp_path: Path,
    packs_of_a_plugin: Callable[[Callable[[Any], Any]], None],
    pack: Callable[[Any], Any],
):
    packs_of_a_plugin(pack)
    write_pack(tmp_path / "a")
    folder = ModelFolder(tmp_path)
    assert folder.look_up("insightface") == tmp_path / "a"
    assert [*plugins().off] == ["eyes"]
    assert folder.look_up("eyes") is None


def test_a_recogniser_alone_is_no_pack(tmp_path: Path):
    write_pack(tmp_path / "a", detector=False)
    assert ModelFolder(tmp_path).look_up("insightface") is None


def test_looking_through_a_folder_needs_no_torch(whole: Path):
    code = (
        "import sys; from pathlib import Path; from lib_uniid.checkpoints.folder import ModelFolder; "
        f"ModelFolder(Path({str(whole)!r})).report(); "
        "assert not {'torch', 'onnx', 'onnxruntime'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


# --- ONNX headers ---


def test_an_onnx_file_shows_what_insightface_routes_by(tmp_path: Path):
    pack = write_pack(tmp_path)
    assert read_onnx_header(pack / "det_10g.onnx") == OnnxHeader(input_shape=(1, 3, 0, 0), outputs=9)
    assert read_onnx_header(pack / "w600k_r50.onnx") == OnnxHeader(input_shape=(0, 3, 112, 112), outputs=1)


def test_weights_listed_as_inputs_are_not_taken_for_the_picture(tmp_path: Path):
    model = onnx.load(write_pack(tmp_path) / "det_10g.onnx")
    weight = model.graph.initializer[0]
    info = onnx.helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))
    model.graph.input.insert(0, info)
    onnx.save(model, tmp_path / "old.onnx")
    assert read_onnx_header(tmp_path / "old.onnx") == OnnxHeader(input_shape=(1, 3, 0, 0), outputs=9)


@pytest.mark.parametrize("kept", [0, 1, 10, 0.5, 0.99])
def test_a_truncated_onnx_file_shows_nothing(tmp_path: Path, kept: float):
    path = write_pack(tmp_path) / "det_10g.onnx"
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    assert read_onnx_header(path) is None


# --- sources ---


def test_every_source_has_a_licence():
    assert all(row.licence and row.purpose and row.placed for row in sources())
    assert "non-commercial" in source("insightface").licence
    assert "Glint360K" in source("curricularface").note


def test_digests_are_whole_or_not_there():
    assert all(row.sha256 is None or len(row.sha256) == 64 for row in sources())


def test_a_link_to_itself_hides_nothing_beside_it(tmp_path: Path):
    for number in range(20):
        (tmp_path / f"{number}.pt").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    assert len([path for path in candidates(tmp_path) if path.suffix == ".pt"]) == 20


def test_a_model_in_an_unread_file_is_not_reported_missing(tmp_path: Path):
    folder = ModelFolder(tmp_path, also=())
    folder.unread.append(tmp_path / "a.pt")
    with pytest.raises(MissingModelError, match="read yet because of the time limit"):
        folder.find("base")
