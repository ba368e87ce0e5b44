"""The slider for a row of the table of fields."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from lib_uniid.fields.rows import Row

Keep = Callable[..., Any]
"""Builds a component with a value from its class, name and options."""


def slider(keep: Keep, name: str, row: Row, value: float, **more: Any) -> Any:
    """Build the slider; ``more`` are further options of gradio."""
    limits = {"minimum": row.low, "maximum": row.high, "step": row.step}
    return keep(gr.Slider, name, value=value, label=row.label, info=row.info or None, **limits, **more)
