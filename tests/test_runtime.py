"""One runtime for all: what is loaded once, and what a refresh drops."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib_uniid.errors import MissingModelError
from lib_uniid.faces.detection import FaceFinder
from lib_uniid.runtime import Runtime
from tests.red_faces import red_face_picture


def finders(monkeypatch: pytest.MonkeyPatch) -> list[FaceFinder]:
    """Every face finder that is loaded from now on."""
    made: list[FaceFinder] = []
    load = FaceFinder.__init__

    def counted(self: FaceFinder, *arguments: Any, **more: Any) -> None:
        made.append(self)
        load(self, *arguments, **more)

    monkeypatch.setattr(FaceFinder, "__init__", counted)
    return made


def test_a_refresh_keeps_networks_whose_files_are_the_same_and_drops_others(own_models: Path):
    freed: list[str] = []
    runtime = Runtime(own_models, free=lambda: freed.append("freed"))
    models, finder = runtime.models, runtime.finder
    (own_models / "Stable-diffusion" / "notes.txt").touch()
    runtime.refresh()
    assert (runtime.models, runtime.finder, freed) == (models, finder, [])
    os.utime(runtime.index.find("curricularface"))
    runtime.refresh()
    assert runtime.models is not models
    assert runtime.finder is not finder
    assert freed == ["freed"]


def test_a_file_added_later_is_found_when_it_is_needed(own_models: Path):
    pack = own_models / "insightface"
    pack.rename(own_models.parent / "elsewhere")
    runtime = Runtime(own_models)
    with pytest.raises(MissingModelError, match="no insightface model"):
        _ = runtime.finder
    (own_models.parent / "elsewhere").rename(pack)
    assert runtime.finder.find(red_face_picture((64, 64)))


def test_after_dropping_the_networks_everything_is_opened_again(own_models: Path):
    runtime = Runtime(own_models)
    index, models, finder = runtime.index, runtime.models, runtime.finder
    runtime.drop_networks()
    assert runtime.index is not index
    assert runtime.models is not models
    assert runtime.finder is not finder


def test_the_device_is_determined_once(own_models: Path):
    asked: list[str] = []
    runtime = Runtime(own_models, device=lambda: asked.append("asked") or "cpu")
    assert asked == []
    for _ in range(2):
        assert runtime.models.device.type == "cpu"
        runtime.drop_networks()
    assert asked == ["asked"]


def test_concurrent_threads_load_one_face_detector(own_models: Path, monkeypatch: pytest.MonkeyPatch):
    made, runtime = finders(monkeypatch), Runtime(own_models)
    found: list[int] = []
    picture = red_face_picture((64, 64))
    threads = [
        threading.Thread(target=lambda: found.append(len(runtime.finder.find(picture)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 4
    assert len(made) == 1


def test_faces_are_never_detected_in_two_pictures_at_once(own_models: Path, monkeypatch: pytest.MonkeyPatch):
    """The detector keeps buffers between its steps."""
    inside, most = [0], [0]
    search = FaceFinder._search  # pyright: ignore[reportPrivateUsage]

    def watched(self: FaceFinder, bgr: np.ndarray) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        inside[0] -= 1
        return search(self, bgr)

    monkeypatch.setattr(FaceFinder, "_search", watched)
    finder, picture = Runtime(own_models).finder, red_face_picture((64, 64))
    threads = [threading.Thread(target=finder.find, args=(picture,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
