"""The routing map, drawn over the picture."""

from collections.abc import Sequence

import cv2
import numpy as np

from lib_uniid.typing import Float, UInt8

# Okabe and Ito's colours, which are distinguishable with colour blindness.
COLOURS = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
        (0, 0, 0),
    ],
    dtype=np.float32,
)

NAMES = ("orange", "sky blue", "green", "yellow", "blue", "vermilion", "purple", "black")


def legend(people: Sequence[str]) -> str:
    """The colour of each person, in the order of the maps."""
    named = zip(people, NAMES, strict=False)  # there are more colours than people
    return f"routing map: {', '.join(f'{one} is {name}' for one, name in named)}"


def draw_routing(
    picture: UInt8[np.ndarray, "height width 3"],
    maps: Float[np.ndarray, "i rows columns"],
    opacity: float = 0.45,
) -> UInt8[np.ndarray, "height width 3"]:
    """Tint every place with the colours of its identities, by their shares; other places stay unchanged."""
    height, width = picture.shape[:2]
    shares = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_NEAREST) for one in maps])
    cover = opacity * np.clip(shares.sum(axis=0), 0.0, 1.0)[..., None]
    total = np.maximum(shares.sum(axis=0), 1e-6)[..., None]
    tint = np.tensordot(shares, COLOURS[: len(maps)], axes=(0, 0)) / total
    return np.rint(picture * (1.0 - cover) + tint * cover).astype(np.uint8)
