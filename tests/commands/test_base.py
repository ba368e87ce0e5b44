"""``--base`` with a checkpoint of another family than the one in the models folder."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_uniid.commands.options import parser
from lib_uniid.commands.settings import arguments_of
from lib_uniid.methods.uniid.numbers import FEW_STEPS
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


def test_a_preset_sets_numbers_of_the_method_and_given_ones_win(sdxl: str, here: Path):
    line = ["generate", "a park", "--person", "Anna", "--preset", "few-steps", "--base", sdxl]
    made = [
        arguments_of(parser().parse_args([*line, "--models", str(here), *more], Namespace())).settings
        for more in ((), ("--merge-start", "0.3"))
    ]
    assert made[0].merge_start == FEW_STEPS.numbers["merge_start"]
    assert made[1].merge_start == 0.3
