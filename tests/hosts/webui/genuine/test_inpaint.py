"""People in a part of a picture: the rest stays, and references are never cropped to it."""

from typing import Any

import numpy as np
import pytest

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person
from tests.hosts.webui.genuine.pictures import apart, encoded, pixels

SIDE, BLUR = 128, 4
START = np.linspace(0, 255, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8)
MASK = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
MASK[32:96, 64:112] = 255
CROPS = 8
"""Grey levels by which two crops of one face may change a picture, at these weights; a person changes 252.

The library's was made by these tests' Python and the other by the host's. With OpenCV 4.11 and 5.0, 8 % of
the values of Anna's crop differ, by up to 2. Seen were 4 in AUTOMATIC1111 and 1 in Forge.
"""


@pytest.mark.parametrize("only_masked", [False, True], ids=["whole picture", "only masked"])
def test_inpainting(webui: Running, only_masked: bool):
    values: dict[str, Any] = {
        "init_images": [encoded(START)],
        "mask": encoded(MASK),
        "mask_blur": BLUR,
        "inpainting_fill": 1,
        "inpaint_full_res": only_masked,
        "denoising_strength": 0.8,
    }
    plain = webui.api.img2img(**values)
    answer = webui.api.img2img(**values, alwayson_scripts=ask(person("Anna", weight=2), identity_scale=2))
    known = webui.api.img2img(**values, alwayson_scripts=ask({"name": "Anna", "weight": 2}, identity_scale=2))
    assert apart(answer.images[0], plain.images[0]) > CROPS
    far = np.ones((SIDE, SIDE), dtype=bool)
    far[32 - 4 * BLUR : 96 + 4 * BLUR, 64 - 4 * BLUR : 112 + 4 * BLUR] = False
    assert np.array_equal(pixels(answer.images[0])[far], START[far])
    # From the library or from the same picture that comes along: no crop has touched the reference.
    assert apart(answer.images[0], known.images[0]) <= CROPS
    assert apart(webui.api.img2img(**values).images[0], plain.images[0]) == 0
