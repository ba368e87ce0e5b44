"""The style reference's controls: a switch, and the picture and strength below it."""

from typing import Any

import gradio as gr

from lib_uniid.fields.request import REQUEST, STYLE
from lib_uniid.ui.form import Form
from lib_uniid.ui.sliders import Keep, slider
from lib_uniid.ui.undecoded import undecoded
from lib_uniid.ui.versions import LOSSLESS


def build_style(keep: Keep, rest: Form) -> dict[str, Any]:
    """Build the components; all four are arguments, by their names in the form."""
    enabled = keep(gr.Checkbox, "style_enabled", value=rest.style_enabled, label=REQUEST["style"].label)
    with gr.Column(visible=False) as column, gr.Row():
        drop = {"height": 240, "elem_classes": ["uniid-drop"]}
        picture = keep(undecoded(gr.Image), "style", label=STYLE["picture"].label, **drop, **LOSSLESS)
        strength = slider(keep, "style_strength", STYLE["strength"], rest.style_strength)
    pasted = keep(gr.Textbox, "style_pasted", value=rest.style_pasted, visible=False, label="Pasted style")
    enabled.change(_shown, inputs=[enabled], outputs=[column], show_progress="hidden")
    return {
        "style_enabled": enabled,
        "style": picture,
        "style_strength": strength,
        "style_pasted": pasted,
    }


def _shown(enabled: bool) -> Any:
    return gr.update(visible=enabled)
