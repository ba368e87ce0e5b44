"""Where the versions of gradio differ that a panel may find itself under."""

from typing import Any

import gradio as gr

GRADIO = int(gr.__version__.partition(".")[0])

SCRIPT = "_js" if GRADIO < 4 else "js"
"""The option of an event that names a script for the browser to run."""

LOSSLESS: dict[str, str] = {} if GRADIO < 4 else {"format": "png"}
"""How a picture component shows what it is given, and so gives back; else as WebP from version 4 on."""

BARE: dict[str, Any] = (
    {"buttons": []} if GRADIO >= 6 else {"show_download_button": False} if GRADIO >= 4 else {}
)
"""A gallery whose pictures are only there to be clicked."""
