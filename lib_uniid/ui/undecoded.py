"""Picture components that return the uploaded file and do not decode it.

gradio decodes every format of Pillow, including formats that start other programs, and without a size limit.
These components return a path, bytes or base64, and :mod:`lib_uniid.faces.picture` decodes it.
"""

from abc import ABCMeta
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib_uniid.ui.form_request import mask_text
from lib_uniid.ui.versions import GRADIO


def undecoded(kind: Any) -> Any:
    """A subclass of ``kind`` with the same name for the browser.

    It is built without gradio's metaclass, which from version 4 on writes a file beside the source.
    """
    maker = ABCMeta if isinstance(kind, ABCMeta) else type
    own: dict[str, Any] = {"preprocess": _uploaded, "is_template": True, "__module__": kind.__module__}
    if GRADIO < 4:
        own["postprocess"] = _accepting_own_values(kind)
    return maker.__new__(type(kind), kind.__name__, (kind,), own)


def _uploaded(component: Any, payload: Any) -> Any:
    """The upload; of an image editor the drawing with its background, as ``composite``."""
    if not hasattr(payload, "composite"):
        return _source(payload)
    if payload.id is None:
        return {"composite": _source(payload.composite)}
    kept = component.blob_storage.pop(payload.id, None)
    return None if kept is None else {"composite": kept.composite}


def _accepting_own_values(kind: Any) -> Callable[[Any, Any], Any]:
    """Make a component accept the values that it returns, as *Send to img2img* needs; gradio 3 does not."""

    def postprocess(component: Any, value: Any) -> Any:
        if isinstance(value, Mapping):  # a drawing and its background
            drawn = mask_text(value)
            return None if drawn is None else f"data:image/png;base64,{drawn}"
        given = isinstance(value, str) and value.startswith("data:")
        return value if given else kind.postprocess(component, value)

    return postprocess


def _source(payload: Any) -> Any:
    """gradio 3 sends base64; later versions a file, in rare cases with its data instead of a path."""
    if payload is None or isinstance(payload, (str, dict)):
        return payload
    return payload.url if payload.path is None else Path(payload.path)
