"""The Python API: the names that ``README.md`` and ``docs/python.md`` use. It imports torch and diffusers."""

from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import PlanOptions
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.config import GenerationSettings, PersonSettings, StyleSettings
from lib_uniid.faces.picture import load_picture
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Identity, Library
from lib_uniid.pipeline import GeneratedPicture, Reference, Studio

__all__ = [
    "GeneratedPicture",
    "GenerationSettings",
    "Identity",
    "Library",
    "PersonSettings",
    "PlanOptions",
    "Reference",
    "Role",
    "Rows",
    "Studio",
    "StyleSettings",
    "find_sites",
    "injected",
    "load_picture",
    "open_studio",
]
