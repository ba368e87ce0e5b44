"""Tests of what ``uniid`` prints for wrong input, and that it writes nothing then."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_uniid.cli import main
from lib_uniid.errors import ConfigError
from tests import narrow_uniid
from tests.commands.conftest import QUICK, files
from tests.red_faces import red_face_picture

pytestmark = pytest.mark.usefixtures("opened_once")

PERSON = ("--person", "Anna=anna.png")
STYLE = ("--style-from", "anna.png")
NINE = tuple(part for number in range(9) for part in ("--person", f"P{number}=anna.png"))


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.png").write_text("I am a text.")
    Image.fromarray(red_face_picture((64, 64))).save(folder / "damaged.png")
    (folder / "damaged.png").write_bytes((folder / "damaged.png").read_bytes()[:100])
    Image.new("1", (20000, 20000)).save(folder / "huge.png")
    save_file({"lora_unet_a.lora_down.weight": np.zeros((1, 1), np.float32)}, folder / "lora.safetensors")
    return folder


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("enrol", "Anna", "empty.png"), "empty.png: no face was found"),
        (("enrol", "Anna", "group.png"), "group.png: 2 faces were found"),
        (("enrol", "Anna", "group.png", "--face", "3"), "group.png: there is no face number 3"),
        (("enrol", "Anna", "group.png", "--point", "1,1"), "group.png: there is no face at (1, 1)"),
        (("enrol", "Anna", "group.png", "--point", "1;1"), "X,Y"),
        (("enrol", " ", "anna.png"), "1 to 200 characters, got 0"),
        (("enrol", "Anna", "text.png"), "text.png is not a picture"),
        (("enrol", "Anna", "damaged.png"), "damaged.png is damaged"),
        (("enrol", "Anna", "huge.png"), "huge.png has 20000 x 20000 pixels, more than 50"),
        (("enrol", "Anna", "nothing.png"), "nothing.png"),
        (("faces", "text.png"), "text.png is not a picture"),
        (("generate", "  ", *PERSON), "the prompt is empty"),
        (("generate", "a park", *NINE), "at most 8 people fit into one picture, got 9"),
        (("generate", "a park", *PERSON, *PERSON), "named twice"),
        (("generate", "a park", "--person", "Eve"), "no person named 'Eve' is enrolled"),
        (("generate", "a park", "--person", "Eve=empty.png"), "empty.png: no face"),
        (("generate", "a park", *PERSON, "--weight", "Ben=1"), "--weight names 'Ben'"),
        (("generate", "a park", *PERSON, "--weight", "strong"), "--weight takes NUMBER or NAME=NUMBER"),
        (("generate", "a park", *PERSON, "--mix", "Anna=Ben"), "--mix takes NAME=OTHER:SHARE"),
        (("generate", "a park", *PERSON, "--mask", "Anna=text.png"), "text.png is not a picture"),
        (("generate", "a park", *PERSON, "--routing", "mask"), "Anna has none"),
        (("generate", "a park", *PERSON, "--width", "100"), "width must be a multiple of 8"),
        (("generate", "a park", "--from", "text.png"), "text.png is not a picture"),
        (("generate", "a park", "--style-from", "text.png"), "text.png is not a picture"),
        (("generate", "a park", "--style-from", "nothing.png"), "nothing.png"),
        (("generate", "a park", "--style-strength", "1"), "--style-strength needs a style reference"),
        (("generate", "a park", *STYLE, "--style-strength", "3"), "strength must lie in [0.01, 2], got 3"),
        (("generate", "a park", *STYLE, "--sampler", "euler"), "sampler must be ddim with"),
        (("generate", "a park", "--sampler", "NoSuchScheduler"), "NoSuchScheduler"),
        (("generate", "a park", "--base", "lora.safetensors"), "lora.safetensors is a LoRA"),
        (("generate", "a park", "--base", "text.png"), "text.png"),
        (("generate", "a park", "--models", "nowhere"), "models folder nowhere not found"),
        (("generate", "a park", "--models", "."), "no base model under"),
        (("generate", "a park", "--device", "toaster"), "toaster"),
        (("enrol", "Anna", "group.png"), "write FILE#2 for the second face from the left, or choose for all"),
        (("generate", "a park", "--person", "Anna=group.png"), "write FILE#2 for the second face"),
        (("generate", "a park", *PERSON, "--mask", "foo"), "--mask takes NAME=PICTURE, got 'foo'"),
        (("generate", "a park", *PERSON, "--mask", "Anna="), "--mask takes NAME=PICTURE, got 'Anna='"),
        (("generate", "a park", "--person", "Anna="), "--person takes NAME or NAME=PICTURE, got 'Anna='"),
        (("generate", "a park", "--person", "=anna.png"), "--person takes NAME or NAME=PICTURE"),
        (("generate", "a park", *PERSON, "--mix", "Anna=Anna:0.5"), "Anna: a person cannot be mixed with"),
        (("generate", "a park", *PERSON, "--maps"), "--maps needs two people or more, got 1"),
        (("generate", "a park", "--strength", "0.5"), "--strength needs a start picture; add --from"),
        (("generate", "a park", "--weight", "0.5"), "--weight needs a person"),
        (("generate", "a park", "--identity-scale", "0.5"), "--identity-scale needs a person"),
        (("generate", "a park", "--seed", "-2"), "or be -1 for a random seed, got -2"),
        (("generate", "a park", "--from", ""), "--from is empty; give a picture file"),
        (("generate", "a park", "--out", "text.png"), "text.png is a file, and a folder is needed"),
        (("generate", "a park", "--out", "text.png/below"), "text.png is a file, and a folder is needed"),
        (("generate", "a park", "--out", "x" * 300), "is too long for this disk"),
        (("generate", "a park", "--library", "text.png"), "text.png is a file, and a folder is needed"),
        (
            ("enrol", "Anna", "anna.png", "--library", "text.png"),
            "text.png is a file, and a folder is needed",
        ),
        (("people", "list", "--library", "text.png"), "text.png is a file, and a folder is needed"),
        (
            ("generate", "a park", "--models", "text.png"),
            "text.png is not a folder; give the models folder",
        ),
        (("doctor", "--models", "text.png"), "text.png is not a folder; give the models folder"),
        (("faces", ""), "a picture is empty; give a picture file"),
        (("faces", "x" * 300), "is too long for this disk"),
        (("enrol", "Anna", "x" * 300), "is too long for this disk"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_written(
    models: Path,
    here: Path,
    bad_files: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
):
    shutil.copytree(bad_files, here, dirs_exist_ok=True)
    before = files(here)
    where = [] if "--models" in arguments else ["--models", str(models)]
    alone = arguments[0] in ("faces", "doctor") or "--library" in arguments
    library = [] if alone else ["--library", str(here / "people")]
    assert main([*arguments, *where, *library, "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    sentence = [line for line in captured.err.splitlines() if not line.endswith(" ...")]
    assert len(sentence) == 1, captured.err
    assert sentence[0].startswith("uniid: ")
    assert said in sentence[0]
    assert files(here) == before


def test_a_person_who_is_not_enrolled_is_named_before_anything_is_loaded(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str]
):
    people = ["--library", str(here / "people"), "--models", str(models)]
    assert main(["generate", "a park", "--person", "Eve", *people]) == 2
    assert capsys.readouterr().err.startswith("uniid: no person named 'Eve'")


@pytest.mark.parametrize(("routing", "named"), [("auto", True), ("off", False)])
def test_a_router_that_is_missing_is_named_before_anything_is_loaded(
    models: Path,
    here: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    routing: str,
    named: bool,
):
    def make(*_: object) -> Any:
        raise ConfigError("loaded")

    monkeypatch.setattr("lib_uniid.commands.making.make", make)
    shutil.copytree(models, tmp_path / "models")
    for router in (tmp_path / "models").rglob("*router*"):
        router.unlink()
    people = ["--person", "Anna=anna.png", "--person", "Ben=ben.png", "--routing", routing]
    assert main(["generate", "a park", *people, "--models", str(tmp_path / "models")]) == 2
    assert ("router" in capsys.readouterr().err) is named


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "no adapter_branch model under"),
        (("--branches", "adapter"), "no adapter_branch model under"),
        (("--branches", "text"), "loaded"),
        (("--structure", "0.5"), "the method UniID has no structure scale"),
        (("--branches", "text", "--merge-start", "2"), "merge start must lie in"),
        (("--preset", "fast"), "the method UniID has no preset 'fast'; its presets: few-steps"),
        (("--method", "UniPortrait"), "the method UniPortrait works with Stable Diffusion 1.5"),
    ],
)
def test_what_the_method_lacks_is_named_before_anything_is_loaded(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    said: str,
):
    def make(*_: object) -> Any:
        raise ConfigError("loaded")

    monkeypatch.setattr("lib_uniid.commands.making.make", make)
    folder = narrow_uniid.write_models(here / "models")
    (folder / "uniid" / "uniid-adapter_branch_sdxl.safetensors").unlink()
    arguments = ["generate", "a park", "--person", "Anna=anna.png", *options, "--models", str(folder)]
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_name_that_is_taken_is_refused_before_any_work_and_can_be_replaced(
    models: Path, uniid: Callable[..., Any], capsys: pytest.CaptureFixture[str]
):
    uniid("enrol", "Anna", "anna.png")
    assert main(["enrol", "Anna", "ben.png", "--models", str(models), "--library", "people"]) == 2
    assert "--replace" in capsys.readouterr().err
    uniid("enrol", "Anna", "ben.png", "--replace")


def test_interrupting_leaves_nothing_behind(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lib_uniid.hosts.diffusers.host.DiffusersHost.decode", interrupt)
    before = files(here)
    assert main(["generate", "a park", *QUICK, "--models", str(models)]) == 130
    assert capsys.readouterr().err.endswith("uniid: interrupted\n")
    assert files(here) == before


def test_a_package_that_is_missing_is_named(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    for module in ("lib_uniid.commands.faces", "lib_uniid.commands.shared"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert main(["faces", "anna.png", "--models", str(models)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("uniid: tqdm (it is not installed) does not work; ")
    assert "-m pip install tqdm==" in said
