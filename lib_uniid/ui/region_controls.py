"""The controls for a person's region: a named region, or a mask that is drawn or uploaded."""

import json
import re
from contextlib import suppress
from typing import Any

import gradio as gr

from lib_uniid.api.regions import ANYWHERE, REGIONS
from lib_uniid.errors import PictureError
from lib_uniid.fields.person import PERSON
from lib_uniid.ui.form import DRAWN
from lib_uniid.ui.form_request import mask_text
from lib_uniid.ui.sliders import Keep
from lib_uniid.ui.undecoded import undecoded
from lib_uniid.ui.versions import GRADIO, LOSSLESS, SCRIPT

LONGEST = 320
"""Longer side of a canvas in pixels. All gradio versions show it whole; masks are resized to the latent."""

BRUSH = 32

EDITOR = 6
"""The first version of gradio under which the image editor is used."""
UPLOAD_ONLY = range(4, EDITOR)
"""Versions without drawing: under 4.40.0 an event with a hidden image editor as an input never starts."""


class RegionControls:
    """The components and their events; the same under all versions of gradio."""

    def __init__(self, keep: Keep, panel: str) -> None:
        self.keep, self.panel = keep, panel

    def build(self) -> dict[str, Any]:
        """Build them; returns the two that are arguments. The mask is shown only while it is used."""
        where = self.keep(
            gr.Dropdown,
            "where",
            choices=[ANYWHERE, *REGIONS, DRAWN],
            value=ANYWHERE,
            label=PERSON["region"].label,
            info="Anywhere: the router decides",
        )
        with gr.Column(visible=False) as column:
            size = self.keep(gr.Textbox, "size", value="", visible=False, label="Size")
            new = gr.Button(
                "New canvas in the picture's aspect ratio", size="sm", visible=GRADIO not in UPLOAD_ONLY
            )
            mask = self.keep(
                undecoded(gr.ImageEditor if GRADIO >= EDITOR else gr.Image),
                "mask",
                height=400,
                label="Mask: white where this person may appear",
                elem_classes=["uniid-drop"],
                **_options(),
                **LOSSLESS,
            )
        where.change(_shown, inputs=[where], outputs=[column], show_progress="hidden")
        if GRADIO not in UPLOAD_ONLY:
            # The picture's size is in fields of the WebUI or the page, which are no arguments of this script.
            script = f"() => uniid.pictureSize({json.dumps(self.panel)})"
            options: dict[str, Any] = {SCRIPT: script, "show_progress": "hidden"}
            new.click(_canvas, inputs=[size], outputs=[mask], **options)
            # White strokes are invisible on an empty editor. The script must not change the mask.
            where.change(_same, inputs=[size], outputs=[size], **options).then(
                _first_canvas, inputs=[where, mask, size], outputs=[mask], show_progress="hidden"
            )
        return {"where": where, "mask": mask}


def _options() -> dict[str, Any]:
    """The component's options: draw in white, or upload a mask."""
    if GRADIO in UPLOAD_ONLY:
        return {"sources": ["upload", "clipboard"]}
    if GRADIO >= EDITOR:
        brush = gr.Brush(default_size=BRUSH, colors=["#ffffff"], default_color="#ffffff", color_mode="fixed")
        return {"sources": ("upload",), "transforms": (), "layers": False, "brush": brush}
    brush = {"brush_color": "#ffffff", "brush_radius": BRUSH, "mask_opacity": 1.0}
    return {"source": "upload", "tool": "sketch", **brush}


def _shown(where: str) -> Any:
    return gr.update(visible=where == DRAWN)


def _same(size: str) -> str:
    return size


def _first_canvas(where: str, mask: Any, size: str) -> Any:
    with suppress(PictureError):  # the next generation reports a wrong upload
        return _canvas(size) if where == DRAWN and mask_text(mask) is None else gr.update()
    return gr.update()


def _canvas(size: str) -> Any:
    from PIL import Image

    return gr.update(value=Image.new("RGB", canvas_size(size)))


def canvas_size(text: str) -> tuple[int, int]:
    """Width and height of a canvas for a picture of ``WIDTHxHEIGHT`` pixels; square if that is unknown."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text or "")
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not width or not height:
        return LONGEST, LONGEST
    scale = LONGEST / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
