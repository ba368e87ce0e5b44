"""The slider of a number, as its row in the table of fields says."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from lib_uniid.fields import Row

Keep = Callable[..., Any]
"""Makes a component with a value from its kind, its name and its options."""


def slider(keep: Keep, name: str, row: Row, value: float, **more: Any) -> Any:
    """The component; ``more`` are further options of gradio's."""
    limits = {"minimum": row.low, "maximum": row.high, "step": row.step}
    return keep(gr.Slider, name, value=value, label=row.label, info=row.info or None, **limits, **more)
