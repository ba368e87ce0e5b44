"""``--base`` with a checkpoint of another family than the one in the models folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import narrow_xl
from tests.commands.conftest import QUICK


@pytest.fixture
def sdxl(here: Path) -> str:
    folder = here / "sdxl"
    folder.mkdir()
    return str(narrow_xl.write_checkpoint(folder))


def test_an_sdxl_checkpoint_makes_a_picture_of_the_size_that_its_yaml_names(
    sdxl: str, uniid: Callable[..., Any]
):
    made = uniid("generate", "a park", "--base", sdxl, *QUICK)
    with Image.open(made["pictures"][0]["path"]) as image:
        assert image.size == (128, 128)
    wide = uniid("generate", "a park", "--base", sdxl, "--width", "136", "--height", "72", *QUICK)
    with Image.open(wide["pictures"][0]["path"]) as image:
        assert image.size == (136, 72)
