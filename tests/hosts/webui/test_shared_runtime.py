"""The panel and the generations of a WebUI share one runtime."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lib_uniid.checkpoints import folder as looking
from tests.hosts.webui.asking import ask, person
from tests.hosts.webui.standin.webui import WebUI
from tests.red_faces import png
from tests.test_runtime import finders


def test_a_generation_an_upload_and_a_refresh_read_each_header_once_and_load_one_face_finder(
    webui: WebUI, own_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made, headers = finders(monkeypatch), Counter[Path]()
    for name in ("read_header", "read_onnx_header"):
        real = getattr(looking, name)

        def read(path: Path, real: Any = real) -> Any:
            headers[path] += 1
            return real(path)

        monkeypatch.setattr(looking, name, read)
    runtime, controller = webui.namespace["runtime"], webui.namespace["controller"]
    monkeypatch.setattr(runtime, "models_folder", own_models)
    assert webui.txt2img(alwayson_scripts=ask(person("Anna"), check=True)).status == 200
    uploads, notes = controller.see([png(tmp_path / "face.png", (64, 64))])
    assert (len(uploads), notes) == (1, [])
    controller.refresh()
    controller.status()
    list(controller.enrol("Zoe", uploads))
    assert webui.txt2img(alwayson_scripts=ask(person("Zoe"), check=True)).status == 200
    kept = ("library", "cache")  # of people, not of models
    weights = [
        file for kind in ("safetensors", "bin", "pth", "onnx") for file in own_models.rglob(f"*.{kind}")
    ]
    weights = [file for file in weights if file.parent.name not in kept]
    assert {file: headers[file] for file in weights} == dict.fromkeys(weights, 1)
    assert made == [runtime.finder]
