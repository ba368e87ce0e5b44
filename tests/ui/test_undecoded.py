"""What is uploaded to the panel is not opened by gradio."""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from benchmarks.corpus.pictures import EPS, jpeg
from lib_uniid.errors import PictureError
from lib_uniid.runtime import Runtime
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form_request import mask_text
from lib_uniid.ui.panel import build
from lib_uniid.ui.undecoded import undecoded
from lib_uniid.ui.versions import GRADIO


def uploaded(path: Path) -> Any:
    """What gradio hands to a component for an uploaded file."""
    if GRADIO < 4:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    from gradio.data_classes import FileData

    return FileData(path=str(path), orig_name="face.png")


@pytest.fixture
def eps(tmp_path: Path) -> Path:
    path = tmp_path / "face.png"
    path.write_bytes(EPS)
    return path


def test_a_picture_component_passes_a_file_of_any_kind(eps: Path):
    payload = uploaded(eps)
    with gr.Blocks():
        given = undecoded(gr.Image)().preprocess(payload)
    assert given == (payload if GRADIO < 4 else eps)


def test_the_browser_gets_the_same_media_type_and_no_file_is_written():
    source = Path(sys.modules[undecoded.__module__].__file__ or "")
    with gr.Blocks():
        assert undecoded(gr.Image)().get_block_name() == gr.Image().get_block_name() == "image"
    assert not source.with_suffix(".pyi").exists()


@pytest.mark.skipif(GRADIO < 6, reason="there is no image editor in the panel")
def test_an_image_editor_hands_over_what_is_drawn_as_a_file(eps: Path):
    from gradio.components.image_editor import EditorData

    with gr.Blocks():
        editor = undecoded(gr.ImageEditor)()
        assert editor.preprocess(EditorData(composite=uploaded(eps))) == {"composite": eps}
        assert editor.preprocess(None) is None


def test_no_picture_component_of_the_panel_decodes(tmp_path: Path):
    with gr.Blocks() as blocks:
        build(PanelController(Runtime(tmp_path), lambda: None), lambda name: name)
    every: list[Any] = list(blocks.blocks.values())
    kinds = [block for block in every if block.get_block_name() in ("image", "imageeditor")]
    assert len(kinds) > 1
    for block in kinds:
        assert type(block).preprocess.__module__ == undecoded.__module__


def test_a_mask_that_is_no_picture_is_refused_in_a_sentence(eps: Path, tmp_path: Path):
    with pytest.raises(PictureError, match="PostScript"):
        mask_text(eps)
    (tmp_path / "mask.jpg").write_bytes(jpeg())
    assert mask_text(tmp_path / "mask.jpg")


@pytest.mark.parametrize("drawing", [False, True] if GRADIO < 4 else [False])
def test_what_a_picture_component_hands_over_it_takes_back(tmp_path: Path, drawing: bool):
    """*Send to img2img* of the hosts gives the values of one tab's components to the other tab's."""
    path = tmp_path / "face.png"
    path.write_bytes(png_of(160))
    options: dict[str, Any] = {"tool": "sketch", "source": "upload"} if drawing else {}
    payload = uploaded(path)
    with gr.Blocks():
        component = undecoded(gr.Image)(**options)
        sent = component.postprocess(
            component.preprocess({"image": payload, "mask": payload} if drawing else payload)
        )
        again = component.preprocess({"image": sent, "mask": sent} if drawing else sent)
    assert _light(mask_text(again)) == 160


def png_of(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), grey).save(buffer, "PNG")
    return buffer.getvalue()


def _light(encoded: str | None) -> int:
    assert encoded is not None
    with Image.open(io.BytesIO(base64.b64decode(encoded.rpartition(",")[2]))) as picture:
        return int(np.asarray(picture.convert("L")).max())
