"""Faces as files that gradio shows, under names by which they can be found and deleted.

Gradio copies what it shows into its temporary folder and keeps it there: a picture handed over as pixels
gets a name that says nothing, a file keeps its name.
"""

import hashlib
import io
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from lib_uniid.files import private_folder, replacing
from lib_uniid.ui import html
from lib_uniid.ui.uploads import Crop

PREFIX = "uniid-face-"
HOURS = 24
"""After which a tile is removed, by the next one that is written."""


def tile(crop: Crop, *, meant: bool) -> str:
    """The path of a face drawn as :func:`lib_uniid.ui.html.tile` does; only its owner may read it."""
    folder = gradio_folder() / "uniid-faces"
    path = folder / f"{_stem(crop)}-{int(meant)}.png"
    if not path.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        private_folder(folder)
        _remove_old()
        buffer = io.BytesIO()
        html.tile(crop, meant=meant).save(buffer, format="PNG")
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
    return str(path)


def remove(crop: Crop) -> None:
    """Delete a face's tiles, ours and gradio's copies."""
    for path in gradio_folder().glob(f"*/{_stem(crop)}-*"):
        with suppress(OSError):  # gone, or being shown on Windows: then it is removed as an old one
            path.unlink()


def gradio_folder() -> Path:
    """Where gradio 3 to 6 keep what was uploaded and what they show."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def is_upload(path: Path) -> bool:
    """Whether a file is gradio's copy of an uploaded one, and not a user's own file."""
    return gradio_folder().resolve() in path.resolve().parents


def _remove_old() -> None:
    oldest = time.time() - HOURS * 3600
    for path in gradio_folder().glob(f"*/{PREFIX}*"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _stem(crop: Crop) -> str:
    return f"{PREFIX}{hashlib.sha256(crop.tobytes()).hexdigest()[:24]}"
