"""Folders of other programs that may hold model files."""

import os
from pathlib import Path

from lib_uniid.checkpoints.sources import sources

VARIABLE = "UNIID_ALSO"
"""The environment variable with folders to search instead of the usual ones; empty for none."""


def usual_places(root: Path) -> tuple[Path, ...]:
    """Existing folders of other programs, for a WebUI's models folder ``root``."""
    named = os.environ.get(VARIABLE)
    places = _usual(root) if named is None else [Path(one) for one in named.split(os.pathsep) if one]
    return tuple(place for place in places if os.path.isdir(place) and not place.is_relative_to(root))


def _usual(root: Path) -> list[Path]:
    cache = _hub_cache()
    repositories = dict.fromkeys(row.repository for row in sources() if row.repository)
    return [
        root.parent / "extensions" / "sd-webui-controlnet" / "models",
        *(cache / f"models--{name.replace('/', '--')}" / "snapshots" for name in repositories),
        Path.home() / ".insightface" / "models",
    ]


def _hub_cache() -> Path:
    """The cache folder of huggingface_hub."""
    if named := os.environ.get("HF_HUB_CACHE"):
        return Path(named)
    if named := os.environ.get("HF_HOME"):
        return Path(named) / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface" / "hub"
