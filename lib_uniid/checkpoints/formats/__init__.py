"""The file formats that are known; adding one is adding a file and its line here."""

from lib_uniid.checkpoints.format import Format
from lib_uniid.checkpoints.formats.clip_vision import CLIP_VISION
from lib_uniid.checkpoints.formats.curricularface import CURRICULARFACE
from lib_uniid.checkpoints.formats.ip_adapter import IP_ADAPTER
from lib_uniid.checkpoints.formats.uniportrait_faceid import UNIPORTRAIT_FACEID
from lib_uniid.checkpoints.formats.uniportrait_router import UNIPORTRAIT_ROUTER
from lib_uniid.checkpoints.header import Header

# The router file may carry a copy of the faceid file, never the other way round, so it comes first.
FORMATS = (UNIPORTRAIT_ROUTER, UNIPORTRAIT_FACEID, CURRICULARFACE, CLIP_VISION, IP_ADAPTER)

__all__ = [
    "CLIP_VISION",
    "CURRICULARFACE",
    "FORMATS",
    "IP_ADAPTER",
    "UNIPORTRAIT_FACEID",
    "UNIPORTRAIT_ROUTER",
    "detect",
]


def detect(header: Header) -> Format | None:
    """The format whose marks the file has, whole or not."""
    return next((candidate for candidate in FORMATS if candidate.matches(header)), None)
