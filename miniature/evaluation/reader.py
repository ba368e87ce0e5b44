"""What is read off a picture: faces and their embeddings by the finder, all else by the meters."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from lib_uniid.faces.alignment import align
from lib_uniid.faces.detection import Face
from miniature.evaluation.words import FaceReading, Reading
from miniature.recipes.meter import FACE_SIZE, LOOKS, SCENE_SIZE, Meters
from miniature.scenes import SHIRTS


class Reader:
    """Reads pictures (RGB, 8 bits).

    Args:
        find: finds faces, each with its embedding.
        weights: file of the meters.
    """

    def __init__(self, find: Callable[[np.ndarray], Sequence[Face]], weights: Path) -> None:
        self.find = find
        self.meters = Meters()
        self.meters.load_state_dict(load_file(weights))
        self.meters.float().eval()

    def embeddings(self, picture: np.ndarray, count: int) -> np.ndarray:
        """ID embeddings of the largest faces, left to right; fewer rows where fewer faces are."""
        faces = sorted(self.find(picture), key=lambda face: -face.area)[:count]
        ordered = sorted(faces, key=lambda face: face.number)
        found = [face.embedding for face in ordered if face.embedding is not None]
        return np.stack(found) if found else np.zeros((0, 1), np.float32)

    @torch.no_grad()
    def read(self, picture: np.ndarray) -> Reading:
        """Let the meters look at a picture."""
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        place, style = self.meters.scenery(F.adaptive_avg_pool2d(pixels, SCENE_SIZE))
        found = max(self.find(picture), key=lambda face: face.area, default=None)
        face = shirt = None
        if found is not None:
            shirt = shirt_below(picture, found)
            crop = torch.from_numpy(align(picture, found.landmarks)).permute(2, 0, 1)[None].float() / 255
            numbers, hair = self.meters.looks(F.adaptive_avg_pool2d(crop, FACE_SIZE))
            values = dict(zip(LOOKS, numbers[0].tolist(), strict=True))
            face = FaceReading(hair=int(hair.argmax()), **values)
        return Reading(place=int(place.argmax()), style=int(style.argmax()), face=face, shirt=shirt)


def shirt_below(picture: np.ndarray, face: Face) -> int:
    """The colour of shirt (an index) that most pixels below the chin are nearest to; of photos."""
    left, top, right, bottom = face.box
    middle, half = (left + right) / 2, (bottom - top) / 2
    last = len(picture)
    first = int(np.clip(bottom + half, 0, last - 4))  # below the neck
    across = slice(max(0, round(middle - half)), round(middle + half))
    pixels = picture[first : round(bottom + 2 * half), across].reshape(-1, 3) / 255
    distance = np.square(pixels[:, None] - SHIRTS.numpy()).sum(-1)
    return int(np.bincount(distance.argmin(1), minlength=len(SHIRTS)).argmax())
