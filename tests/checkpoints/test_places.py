"""Model files that people have already, where other programs keep them, and files in the wrong place."""

from pathlib import Path

import pytest
from safetensors.numpy import save_file

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.places import VARIABLE, usual_places
from tests.checkpoints.test_folder import whole

__all__ = ["whole"]  # a fixture


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, and no variables that say otherwise."""
    for name in (VARIABLE, "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def test_the_folders_of_other_programs_are_searched(home: Path, monkeypatch: pytest.MonkeyPatch):
    root = home / "webui" / "models"
    hub = home / ".cache" / "huggingface" / "hub" / "models--h94--IP-Adapter" / "snapshots"
    places = [
        home / "webui" / "extensions" / "sd-webui-controlnet" / "models",
        hub,
        home / ".insightface" / "models",
    ]
    assert usual_places(root) == ()
    for place in (root, *places):
        place.mkdir(parents=True)
    assert usual_places(root) == tuple(places)
    moved = home / "elsewhere" / "models--h94--IP-Adapter" / "snapshots"
    moved.mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "elsewhere"))
    assert usual_places(root) == (places[0], moved, places[2])


def test_a_variable_names_other_folders_or_none(home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / ".insightface" / "models").mkdir(parents=True)
    monkeypatch.setenv(VARIABLE, "")
    assert usual_places(home / "models") == ()
    monkeypatch.setenv(VARIABLE, str(home))
    assert usual_places(home / "models") == (home,)


def test_files_in_other_folders_are_found_after_the_models_folder(whole: Path, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert ModelFolder(empty, also=[]).look_up("faceid") is None
    elsewhere = ModelFolder(empty, also=[whole]).look_up("faceid")
    assert elsewhere is not None
    assert elsewhere.is_relative_to(whole)
    both = ModelFolder(whole, also=[empty, whole])
    assert both.look_up("faceid") == elsewhere


def test_a_file_of_another_kind_in_the_models_folder_is_named(whole: Path):
    own = whole / "uniid"
    own.mkdir(exist_ok=True)
    assert ModelFolder(whole).unused() == ()
    import numpy as np

    save_file({"lora_unet_x.lora_down.weight": np.zeros(1)}, own / "mine.safetensors")
    (own / "cut.safetensors").write_bytes(b"{")
    (own / "library").mkdir(exist_ok=True)
    save_file({"lora_unet_x.lora_down.weight": np.zeros(1)}, own / "library" / "somebody.safetensors")
    found = {one.path.name: one.kind for one in ModelFolder(whole).unused()}
    assert found.keys() == {"mine.safetensors", "cut.safetensors"}
    assert found["mine.safetensors"] == "a LoRA"
    assert found["cut.safetensors"].startswith("a file that cannot be read")
