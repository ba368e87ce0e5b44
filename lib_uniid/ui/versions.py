"""Where the versions of gradio differ that a panel may find itself under."""

import gradio as gr

GRADIO = int(gr.__version__.partition(".")[0])

SCRIPT = "_js" if GRADIO < 4 else "js"
"""The option of an event that names a script for the browser to run."""

LOSSLESS: dict[str, str] = {} if GRADIO < 4 else {"format": "png"}
"""How a picture component shows what it is given, and so gives back; else as WebP from version 4 on."""
