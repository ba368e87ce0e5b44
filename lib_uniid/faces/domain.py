"""The domain of a pack of face models, from a file beside the models.

``domain.json`` in the pack's folder holds a sentence, and limits that exclude other kinds of pictures. Packs
without it, such as insightface's, are for photographs.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lib_uniid import json_text
from lib_uniid.errors import UnknownCheckpointError
from lib_uniid.typing import UInt8

FILE = "domain.json"
_SIDE = 128
"""Pixels of the longer side of the copy for measuring detail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """``note`` is the sentence. Each of ``limits`` is a detail, and the score that a face then needs.

    Drawings are nearly uniform, and photographs are not; a detector that was trained on drawings gives low
    scores in photographs.
    """

    note: str
    limits: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, pack: Path) -> "Domain | None":
        """The domain of a pack; None without such a file, ``UnknownCheckpointError`` for a damaged one."""
        path = pack / FILE
        if not path.is_file():
            return None
        try:
            raw = json_text.read(path)
            limits = tuple((float(detail), float(score)) for detail, score in raw["limits"])
            return cls(note=str(raw["note"]), limits=limits)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnknownCheckpointError(
                f"{path} cannot be read ({error}); download the face models again"
            ) from error

    def excludes(self, picture: UInt8[np.ndarray, "height width 3"], score: float) -> bool:
        """Whether a picture whose best face has this score is outside the models' domain."""
        seen = detail(picture)
        return any(seen >= least and score < needed for least, needed in self.limits)


def note_of(pack: Path | None) -> str | None:
    """The sentence of a pack; None without one, or for a damaged file, whose use raises an error."""
    with suppress(UnknownCheckpointError):
        if pack is not None and (domain := Domain.of(pack)) is not None:
            return domain.note
    return None


def detail(picture: UInt8[np.ndarray, "height width 3"]) -> float:
    """Median over all pixels of the difference from the four neighbours, in grey levels.

    Measured in a copy of 128 pixels. Drawings have less than 1, as JPEG up to 3; photographs at least 2.
    """
    small = Image.fromarray(picture)
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float32).mean(axis=2)
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.median(np.abs(4.0 * grey[1:-1, 1:-1] - around)))
