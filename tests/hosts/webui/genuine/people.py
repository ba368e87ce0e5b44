"""People of the miniature's world, as a client sends them."""

import base64
import shutil
from pathlib import Path
from typing import Any

from lib_uniid.faces.picture import load_picture
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Library
from lib_uniid.pipeline import Reference
from miniature import SAMPLES


def person(name: str, **values: Any) -> dict[str, Any]:
    """A person with a picture."""
    return {"name": name, "references": [picture(name)], **values}


def picture(name: str, number: int = 1) -> str:
    return base64.b64encode((SAMPLES / f"{name}-{number}.png").read_bytes()).decode()


def ask(*people: dict[str, Any], **values: Any) -> dict[str, Any]:
    """``alwayson_scripts`` for these people."""
    return {"UniID": {"args": [{"version": 1, "people": list(people), **values}]}}


def beside(scripts: dict[str, Any] | None = None, **asked: Any) -> dict[str, Any]:
    """``alwayson_scripts`` with the probe doing what other extensions do; see ``probe/scripts/beside.py``."""
    return {**(scripts or {}), "Probe": {"args": [asked]}}


def with_people(models: Path, folder: Path) -> Path:
    """A copy of ``models`` in whose library are Anna and Ben, as ``uniid enrol`` would put them."""
    shutil.copytree(models, folder, ignore=shutil.ignore_patterns("library", "cache"))
    studio = open_studio(folder, device="cpu")
    library = Library(folder=folder / "uniid" / "library")
    for name in ("Anna", "Ben"):
        shown = load_picture(SAMPLES / f"{name}-1.png")
        library.save(studio.enrol(name, [Reference(picture=shown, label=name, largest=True)])[0])
    return folder
