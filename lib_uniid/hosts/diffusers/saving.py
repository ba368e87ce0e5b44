"""Saves pictures as PNG files with their generation parameters and a mark for generated pictures."""

import io
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_uniid import __version__
from lib_uniid.config import GenerationSettings
from lib_uniid.evaluation.overlay import draw_routing
from lib_uniid.failures import explain
from lib_uniid.files import replacing
from lib_uniid.pipeline import GeneratedPicture
from lib_uniid.typing import UInt8


class Saver:
    """Saves pictures in a folder, or in a temporary folder after that folder cannot be written any more.

    The folder is checked before the sampling, which can take hours. ``notes`` have the errors.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []

    def save(
        self, made: GeneratedPicture, settings: GenerationSettings, more: Mapping[str, str] | None = None
    ) -> Path:
        """See :func:`save`; ``OSError`` if the temporary folder cannot be written either."""
        try:
            return save(made, settings, self.folder, more)
        except OSError as error:
            self.folder = Path(tempfile.mkdtemp(prefix="uniid-"))
            path = save(made, settings, self.folder, more)
            self.notes.append(f"{explain(error)}; the pictures are in {self.folder}")
            return path

    def save_overlay(self, path: Path, made: GeneratedPicture) -> Path | None:
        """Save the routing map beside a picture; None without a map, or if it cannot be written."""
        if made.routing is None:
            return None
        overlay = path.with_suffix(".routing.png")
        try:
            write_png(overlay, draw_routing(np.ascontiguousarray(made.picture), made.routing))
        except OSError as error:  # the picture itself is saved
            self.notes.append(explain(error))
            return None
        return overlay


def save(
    made: GeneratedPicture, settings: GenerationSettings, folder: Path, more: Mapping[str, str] | None = None
) -> Path:
    """Write a picture under the next number in ``folder``; no file is replaced.

    ``more`` are further entries of the infotext.
    """
    words = PngInfo()
    words.add_itxt("parameters", parameters(made, settings, more or {}))
    words.add_itxt("DigitalSourceType", "trainedAlgorithmicMedia")
    path = _free_path(folder, made.seed)
    write_png(path, made.picture, words)
    return path


def write_png(path: Path, picture: UInt8[np.ndarray, "height width 3"], words: PngInfo | None = None) -> None:
    """Write a picture atomically."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", pnginfo=words or PngInfo())
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def parameters(made: GeneratedPicture, settings: GenerationSettings, more: Mapping[str, str]) -> str:
    """The generation parameters in AUTOMATIC1111's lines; people only through ``more``."""
    size = f"{made.picture.shape[1]}x{made.picture.shape[0]}"
    prompt = [settings.prompt] if settings.prompt.strip() else []
    negative = [f"Negative prompt: {settings.negative_prompt}"] if settings.negative_prompt else []
    values = (
        f"Steps: {settings.steps}, Sampler: {settings.sampler}, CFG scale: {settings.cfg_scale:g}, "
        f"Seed: {made.seed}, Size: {size}, UniID version: {__version__}"
    )
    if style := settings.style:  # ten digits, as in AUTOMATIC1111's model hash
        values += f", Style hash: {style.sha256[:10]}, Style strength: {style.strength:g}"
    values += "".join(f", {key}: {_quoted(value)}" for key, value in more.items())
    return "\n".join([*prompt, *negative, values])


def _quoted(value: str) -> str:
    """Quoted like AUTOMATIC1111's values."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(",:\n") else value


def _free_path(folder: Path, seed: int) -> Path:
    taken = [int(found[1]) for path in folder.glob("*.png") if (found := re.match(r"(\d{5})-", path.name))]
    return folder / f"{max(taken, default=0) + 1:05d}-{seed}.png"
