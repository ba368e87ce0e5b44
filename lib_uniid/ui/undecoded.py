"""Components for pictures that hand over what was uploaded, and do not decode it.

gradio opens whatever Pillow can open, among it what starts other programs, and knows no limit. What these
components give is a path, bytes or base64, which :mod:`lib_uniid.faces.picture` opens.
"""

from abc import ABCMeta
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib_uniid.ui.form_request import mask_text
from lib_uniid.ui.versions import GRADIO


def undecoded(kind: Any) -> Any:
    """The same kind of component, with the same name for the browser.

    Made without gradio's own metaclass: from version 4 on it writes a file beside the source.
    """
    maker = ABCMeta if isinstance(kind, ABCMeta) else type
    own: dict[str, Any] = {"preprocess": _handed_over, "is_template": True, "__module__": kind.__module__}
    if GRADIO < 4:
        own["postprocess"] = _taking_back(kind)
    return maker.__new__(type(kind), kind.__name__, (kind,), own)


def _handed_over(component: Any, payload: Any) -> Any:
    """What was uploaded; of an image editor with everything that is drawn as ``composite``."""
    if not hasattr(payload, "composite"):
        return _source(payload)
    if payload.id is None:
        return {"composite": _source(payload.composite)}
    kept = component.blob_storage.pop(payload.id, None)
    return None if kept is None else {"composite": kept.composite}


def _taking_back(kind: Any) -> Callable[[Any, Any], Any]:
    """gradio 3 does not take what it gives; *Send to img2img* hands that to the same component elsewhere."""

    def take(component: Any, value: Any) -> Any:
        if isinstance(value, Mapping):  # a drawing, and what it is drawn on
            drawn = mask_text(value)
            return None if drawn is None else f"data:image/png;base64,{drawn}"
        given = isinstance(value, str) and value.startswith("data:")
        return value if given else kind.postprocess(component, value)

    return take


def _source(payload: Any) -> Any:
    """gradio 3 sends base64, later versions a file, in rare cases with its data in place of a path."""
    if payload is None or isinstance(payload, (str, dict)):
        return payload
    return payload.url if payload.path is None else Path(payload.path)
