"""Curves are drawn where their points are."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.curves import COLOURS, SIZE, draw


def test_each_curve_has_its_colour_and_its_place(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw({"high": [(0.1, 0.9, "1"), (0.5, 0.9, "2")], "low": [(0.1, 0.2, "1")]}, "across", "up", path)
    picture = np.array(Image.open(path)).astype(int)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    rows = [np.argwhere((np.abs(picture - colour) < 12).all(2))[:, 0] for colour in COLOURS[:2]]
    assert np.median(rows[0]) < np.median(rows[1])
