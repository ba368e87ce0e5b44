"""Tests of ``uniid`` from end to end on a folder of narrow models."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_uniid import __version__
from lib_uniid.cli import main
from lib_uniid.config import StyleSettings
from lib_uniid.faces.picture import load_picture
from tests.commands.conftest import QUICK, files

pytestmark = pytest.mark.usefixtures("opened_once")


def test_people_are_enrolled_and_a_picture_of_them_is_generated(here: Path, uniid: Callable[..., Any]):
    enrolled = uniid("enrol", "Anna", "anna.png", "group.png#2")
    assert [face["number"] for face in enrolled["references"]] == [1, 2]
    uniid("enrol", "Ben", "ben.png", "--largest")
    made = uniid("generate", "two people in a park", "--person", "Anna", "--person", "Ben", *QUICK, "--maps")
    (picture,) = made["pictures"]
    assert [person["name"] for person in picture["people"]] == ["Anna", "Ben"]
    assert picture["missing"] == ["Anna", "Ben"]  # random weights draw no faces
    assert made["notes"] == []
    assert files(here / "out") == {"00001-7.png", "00001-7.routing.png"}
    with Image.open(picture["path"]) as image:
        assert image.size == (128, 128)
        assert "Seed: 7, Size: 128x128" in image.text["parameters"]  # pyright: ignore[reportAttributeAccessIssue]
        assert "Anna" not in str(image.info)


def test_a_plugin_that_fails_at_the_enrolment_is_named_in_the_notes(
    uniid: Callable[..., Any], failing_at: Callable[[str], str]
):
    sentence = failing_at("identity_saved")
    (note,) = uniid("enrol", "Eve", "ben.png")["notes"]
    assert note.startswith(sentence)
    assert uniid("people", "list")["people"] == ["Eve"]


def test_every_person_option_reaches_the_picture(here: Path, uniid: Callable[..., Any]):
    uniid("enrol", "Eve", "ben.png")
    people = ("--person", "Anna=anna.png", "--person", "Ben=group.png#2")
    each = (
        "--weight",
        "0.9",
        "--weight",
        "Anna=1.1",
        "--structure",
        "0.2",
        "--start",
        "Ben=0.1",
        "--end",
        "0.9",
    )
    more = ("--mix", "Anna=Eve:0.3", "--mask", "Ben=mask.png", "--routing", "auto", "--identity-scale", "0.8")
    made = uniid("generate", "a party", *people, *each, *more, *QUICK, "--pictures", "2", "--retries", "1")
    assert len(made["pictures"]) == 2
    assert len(files(here / "out")) == 2


def test_a_picture_without_people_has_a_note_and_a_drawn_seed(here: Path, uniid: Callable[..., Any]):
    made = uniid("generate", "a park", "--steps", "1", "--width", "64", "--height", "72", "--cfg-scale", "1")
    assert "no --person was given" in made["notes"][0]
    (picture,) = made["pictures"]
    assert f"-{picture['seed']}.png" in picture["path"]
    assert np.asarray(Image.open(picture["path"])).shape == (72, 64, 3)


def test_the_end_of_a_prompt_that_is_not_read_is_named(uniid: Callable[..., Any]):
    long = "cat " * 75 + "dog"
    notes = uniid("generate", "a park", "--negative-prompt", long, *QUICK)["notes"]
    assert "the negative prompt is too long; its end is ignored: dog" in notes
    assert not any(note.startswith("the prompt is") for note in notes)


def test_the_same_seed_makes_the_same_file_again_beside_the_first(here: Path, uniid: Callable[..., Any]):
    for _ in range(2):
        uniid("generate", "a park", *QUICK)
    assert (here / "out/00001-7.png").read_bytes() == (here / "out/00002-7.png").read_bytes()


def test_a_start_picture_and_a_prompt_that_is_too_long(here: Path, uniid: Callable[..., Any]):
    made = uniid("generate", "cat " * 76 + "zebra", "--from", "anna.png", "--strength", "0.5", *QUICK)
    assert made["notes"][-1].endswith("zebra")


def test_a_style_is_applied_and_recorded_only_as_a_hash(here: Path, uniid: Callable[..., Any]):
    style = ("--style-from", "group.png", "--style-strength", "1.5")
    made = uniid("generate", "", "--person", "Anna=anna.png", *style, *QUICK)
    digest = StyleSettings(picture=load_picture(here / "group.png")).sha256
    assert made["style"] == {"sha256": digest, "strength": 1.5}
    with Image.open(made["pictures"][0]["path"]) as image:
        words = image.text["parameters"]  # pyright: ignore[reportAttributeAccessIssue]
    assert words.startswith("Steps: 2, Sampler: ddim, ")
    assert words.endswith(f", Style hash: {digest[:10]}, Style strength: 1.5")
    plain = uniid("generate", "a park", "--person", "Anna=anna.png", *QUICK)
    assert "style" not in plain
    official = uniid("generate", "a park", "--style-from", "group.png", *QUICK)
    assert official["style"]["strength"] == pytest.approx(math.exp(-0.5))
    assert official["notes"][0].endswith("a picture without identities in that style")


def test_faces_are_listed_left_to_right(uniid: Callable[..., Any]):
    listed = uniid("faces", "group.png", "empty.png", library=False)["pictures"]
    assert [len(picture["faces"]) for picture in listed] == [2, 0]
    first, second = listed[0]["faces"]
    assert (first["number"], second["number"]) == (1, 2)
    assert first["box"][0] < second["box"][0]


def test_words_for_people_are_printed_without_json(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str]
):
    library = ["--models", str(models), "--library", str(here / "people")]
    assert main(["enrol", "Anna", "anna.png", *library]) == 0
    assert "Anna is enrolled from 1 picture" in capsys.readouterr().out
    assert main(["generate", "a park", "--person", "Anna", *QUICK, *library]) == 0
    assert "Anna: missing" in capsys.readouterr().out
    assert main(["faces", "group.png", "--models", str(models)]) == 0
    assert capsys.readouterr().out.startswith("group.png: 2 faces\n  1: ")
    assert main(["doctor", "--models", str(models)]) == 0
    assert capsys.readouterr().out.endswith("ready to generate\n")


def test_the_module_runs_as_a_program_and_needs_nothing_heavy_for_its_version():
    code = "import sys; from lib_uniid.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
    code += "print(*sorted({'torch', 'transformers', 'cv2'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == f"uniid {__version__}\n\n"
    program = [sys.executable, "-m", "lib_uniid.cli", "--version"]
    assert (
        subprocess.run(program, capture_output=True, text=True, check=True).stdout == f"uniid {__version__}\n"
    )
