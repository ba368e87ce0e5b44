"""What a pack of face models knows, where it is less than photographs: said by a file beside the models.

``domain.json`` in the pack's folder holds a sentence, and limits by which pictures of another kind are told.
Packs without it are for photographs, as insightface's own.
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
"""Pixels of the longer side of the copy in which detail is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """``note`` is the sentence. Each of ``limits`` is a detail, and the score that a face needs from it on.

    Drawings are flat nearly everywhere, and photographs are nowhere; a detector that was trained on drawings
    is unsure of what it takes for a face in a photograph.
    """

    note: str
    limits: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, pack: Path) -> "Domain | None":
        """That of a pack; None where it has no such file, ``UnknownCheckpointError`` for a damaged one."""
        path = pack / FILE
        if not path.is_file():
            return None
        try:
            raw = json_text.read(path)
            limits = tuple((float(detail), float(score)) for detail, score in raw["limits"])
            return cls(note=str(raw["note"]), limits=limits)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnknownCheckpointError(
                f"{path} cannot be read ({error}); get the face models again"
            ) from error

    def excludes(self, picture: UInt8[np.ndarray, "height width 3"], score: float) -> bool:
        """Whether a picture whose best face has this score is of another kind than the models know."""
        seen = detail(picture)
        return any(seen >= least and score < needed for least, needed in self.limits)


def note_of(pack: Path | None) -> str | None:
    """The sentence of a pack; None where there is none, and for a damaged file, which is named in its use."""
    with suppress(UnknownCheckpointError):
        if pack is not None and (domain := Domain.of(pack)) is not None:
            return domain.note
    return None


def detail(picture: UInt8[np.ndarray, "height width 3"]) -> float:
    """How much the middle one of all pixels differs from its four neighbours together, in grey levels.

    Measured in a copy of at most 128 pixels. Drawings have less than 1, as JPEG up to 3; photographs from 2.
    """
    small = Image.fromarray(picture)
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float32).mean(axis=2)
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.median(np.abs(4.0 * grey[1:-1, 1:-1] - around)))
