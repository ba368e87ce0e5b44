"""Detection of faces that fill their picture and of small faces in large photographs, and its time.

python dev.py bench faces [--json]

The miniature's detector on its twelve sample pictures: cut to the face's box at 100 %, 110 % and 130 %, and
with a face of 90 pixels in 4000 x 3000. A face is right if it is the only one and its landmarks are within
12 % of the box's width of those in the whole sample.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.report import Figure, report
from lib_uniid.faces.detection import Face, FaceFinder
from lib_uniid.faces.picture import load_picture
from lib_uniid.typing import UInt8
from miniature import MODELS, SAMPLES

PACK = MODELS / "insightface" / "models" / "miniature"
CUTS = (1.0, 1.1, 1.3)
SMALL, LARGE = 90, (3000, 4000)
WITHIN = 0.12
ROUNDS = 10


class Sample(NamedTuple):
    """A picture, and the face that is found in the whole picture."""

    picture: UInt8[np.ndarray, "height width 3"]
    face: Face

    @property
    def width(self) -> float:
        return self.face.box[2] - self.face.box[0]


def main(argv: list[str]) -> int:
    """Run the suite; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    return report(figures(), as_json=parser.parse_args(argv).json)


def figures() -> Iterator[Figure]:
    """All figures of the suite."""
    finder = FaceFinder(PACK, recognise=True)
    samples = [
        Sample(picture, *finder.find(picture)) for picture in map(load_picture, sorted(SAMPLES.glob("*.png")))
    ]
    for cut in CUTS:
        yield from _cut(finder, samples, cut)
    yield from _small(finder, samples)
    seconds = [_seconds(finder, one.picture) for one in samples for _ in range(ROUNDS)]
    yield Figure(name="faces/usual/find", value=1000 * statistics.median(seconds), unit="ms")


def _cut(finder: FaceFinder, samples: Sequence[Sample], cut: float) -> Iterator[Figure]:
    right: list[float] = []
    likeness: list[float] = []
    for sample in samples:
        picture, place = cut_to_face(sample, cut)
        faces = finder.find(picture)
        right.append(len(faces) == 1 and is_right(faces[0], sample, 1.0, place))
        likeness.append(max((_likeness(face, sample) for face in faces), default=0.0))
    name = f"faces/cut={cut:.0%}"
    yield Figure.at_least(f"{name}/right", float(np.mean(right)), "share", 1.0)
    yield Figure(name=f"{name}/similarity", value=float(np.mean(likeness)), unit="cosine")


def _small(finder: FaceFinder, samples: Sequence[Sample]) -> Iterator[Figure]:
    right: list[float] = []
    seconds: list[float] = []
    for number, sample in enumerate(samples):
        picture, scale, place = in_a_large_picture(sample, number)
        before = time.perf_counter()
        faces = finder.find(picture)
        seconds.append(time.perf_counter() - before)
        right.append(len(faces) == 1 and is_right(faces[0], sample, scale, place))
    name = f"faces/{SMALL}_px_in_{LARGE[1]}x{LARGE[0]}"
    yield Figure.at_least(f"{name}/right", float(np.mean(right)), "share", 1.0)
    yield Figure(name=f"{name}/find", value=1000 * statistics.median(seconds), unit="ms")


def cut_to_face(
    sample: Sample, cut: float
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[float, float]]:
    """The sample cut to its face's box, enlarged by ``cut``, and the offset of the whole sample."""
    height, width = sample.picture.shape[:2]
    left, top, right, bottom = sample.face.box
    x, y, half_wide, half_high = (
        (left + right) / 2,
        (top + bottom) / 2,
        (right - left) / 2,
        (bottom - top) / 2,
    )
    columns = slice(int(max(0, x - half_wide * cut)), int(min(width, x + half_wide * cut)))
    rows = slice(int(max(0, y - half_high * cut)), int(min(height, y + half_high * cut)))
    return np.ascontiguousarray(sample.picture[rows, columns]), (-columns.start, -rows.start)


def in_a_large_picture(
    sample: Sample, seed: int
) -> tuple[UInt8[np.ndarray, "height width 3"], float, tuple[float, float]]:
    """A noisy picture that contains the sample with a face ``SMALL`` wide; the sample's scale and offset."""
    scale = SMALL / sample.width
    small = cv2.resize(sample.picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    draw = np.random.default_rng(seed)
    colour = sample.picture[:8, :8].mean(axis=(0, 1)).astype(np.uint8)
    picture = colour + draw.integers(0, 6, (*LARGE, 3), dtype=np.uint8)
    top, left = (
        int(draw.integers(0, most - side)) for most, side in zip(LARGE, small.shape[:2], strict=True)
    )
    picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    return picture, scale, (left, top)


def is_right(face: Face, sample: Sample, scale: float, place: tuple[float, float]) -> bool:
    """Whether a face is the sample's, with the sample scaled by ``scale`` and placed at ``place``."""
    away = np.abs(face.landmarks - (sample.face.landmarks * scale + np.array(place))).max()
    return bool(away < WITHIN * sample.width * scale)


def _likeness(face: Face, sample: Sample) -> float:
    assert face.embedding is not None
    assert sample.face.embedding is not None
    return float(face.embedding @ sample.face.embedding)


def _seconds(finder: FaceFinder, picture: UInt8[np.ndarray, "height width 3"]) -> float:
    before = time.perf_counter()
    finder.find(picture)
    return time.perf_counter() - before
