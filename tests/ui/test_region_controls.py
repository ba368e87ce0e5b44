"""A canvas to draw a mask on."""

import pytest

from lib_uniid.ui.region_controls import canvas_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512x768", (213, 320)),
        ("1024x512", (320, 160)),
        ("99999x1", (320, 1)),
        ("0x0", (320, 320)),
        ("", (320, 320)),
        ("../x", (320, 320)),
    ],
)
def test_a_canvas_has_the_proportions_of_the_picture(text: str, size: tuple[int, int]):
    assert canvas_size(text) == size
