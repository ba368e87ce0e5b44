"""The picture whose style is taken: a switch, and below it what counts while it is on."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from lib_uniid.ui.form import Form
from lib_uniid.ui.undecoded import undecoded
from lib_uniid.ui.versions import LOSSLESS

Keep = Callable[..., Any]
"""Makes a component with a value from its kind, its name and its options."""


def build_style(keep: Keep, rest: Form) -> dict[str, Any]:
    """Make the components; all four are arguments, by their names in the form."""
    enabled = keep(gr.Checkbox, "style_enabled", value=rest.style_enabled, label="Style reference")
    with gr.Column(visible=False) as column, gr.Row():
        drop = {"height": 240, "elem_classes": ["uniid-drop"]}
        picture = keep(undecoded(gr.Image), "style", label="Style picture", **drop, **LOSSLESS)
        strength = keep(
            gr.Slider,
            "style_strength",
            value=rest.style_strength,
            minimum=0.01,
            maximum=2.0,
            step=0.01,
            label="Style strength",
            info="Weight of the style picture; generating takes longer with it",
        )
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
