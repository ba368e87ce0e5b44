"""Differences between the versions of gradio that the panel supports."""

from typing import Any

import gradio as gr

GRADIO = int(gr.__version__.partition(".")[0])

SCRIPT = "_js" if GRADIO < 4 else "js"
"""The option of an event for a script that the browser runs."""

LOSSLESS: dict[str, str] = {} if GRADIO < 4 else {"format": "png"}
"""The format of a picture component's value; the default from version 4 on is WebP."""

BARE: dict[str, Any] = (
    {"buttons": []} if GRADIO >= 6 else {"show_download_button": False} if GRADIO >= 4 else {}
)
"""Options of a gallery without buttons, whose pictures are only clicked."""
