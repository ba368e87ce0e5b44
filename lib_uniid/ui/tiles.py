"""Faces as files for gradio, under names by which they can be found and deleted.

Gradio copies every picture that it shows into its temporary folder and keeps it. A copy of a file keeps the
file's name; a copy of an array gets a random name.
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
"""Age at which a tile is removed, when the next one is written."""


def tile(crop: Crop, *, chosen: bool) -> str:
    """The path of a face drawn by :func:`lib_uniid.ui.html.tile`; only the current user may read it."""
    folder = gradio_folder() / "uniid-faces"
    path = folder / f"{_stem(crop)}-{int(chosen)}.png"
    if not path.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        private_folder(folder)
        _remove_old()
        buffer = io.BytesIO()
        html.tile(crop, chosen=chosen).save(buffer, format="PNG")
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
    return str(path)


def remove(crop: Crop) -> None:
    """Delete a face's tiles, ours and gradio's copies."""
    for path in gradio_folder().glob(f"*/{_stem(crop)}-*"):
        with suppress(OSError):  # deleted already, or in use on Windows: then removed by age later
            path.unlink()


def gradio_folder() -> Path:
    """The folder of uploaded and shown files of gradio 3 to 6."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def is_upload(path: Path) -> bool:
    """Whether a file is gradio's copy of an upload, and not the user's own file."""
    return gradio_folder().resolve() in path.resolve().parents


def _remove_old() -> None:
    oldest = time.time() - HOURS * 3600
    for path in gradio_folder().glob(f"*/{PREFIX}*"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _stem(crop: Crop) -> str:
    return f"{PREFIX}{hashlib.sha256(crop.tobytes()).hexdigest()[:24]}"
