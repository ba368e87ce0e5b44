"""``uniid`` from end to end on a folder of narrow models, and its error messages."""

import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from lib_uniid import __version__
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.sources import sources
from lib_uniid.cli import main
from lib_uniid.config import StyleSettings
from lib_uniid.errors import ConfigError
from lib_uniid.faces.picture import load_picture
from miniature import MODELS
from tests.hub import running
from tests.red_faces import red_face_picture

pytestmark = pytest.mark.usefixtures("opened_once")

QUICK = ("--steps", "2", "--seed", "7", "--device", "cpu")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures of one face, of two, and of none."""
    monkeypatch.chdir(tmp_path)
    for name, picture in (
        ("anna.png", red_face_picture((64, 64))),
        ("ben.png", red_face_picture((120, 60))),
        ("group.png", red_face_picture((64, 64), (190, 60))),
        ("empty.png", np.full((128, 128, 3), 128, dtype=np.uint8)),
        ("mask.png", np.full((64, 64, 3), 255, dtype=np.uint8)),
    ):
        Image.fromarray(picture).save(name)
    return tmp_path


@pytest.fixture
def uniid(models: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command that must succeed, with a library of the test's own; returns its JSON."""

    def run(*arguments: str, library: bool = True) -> Any:
        more = ["--library", str(here / "people")] if library else []
        assert main([*arguments, "--models", str(models), *more, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- what works ---


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


def test_the_doctor_finds_every_file_with_its_size_hash_and_licence(uniid: Callable[..., Any]):
    report = uniid("doctor", "--hash", library=False)
    assert report["ready"]
    found = {file["name"]: file for file in report["files"] if file["found"]}
    assert found.keys() == {"base", "faceid", "router", "curricularface", "clip_vision", "insightface"}
    assert len(found["faceid"]["sha256"]) == 64
    assert found["faceid"]["size"] > 0
    assert all(file["licence"] for file in report["files"])
    assert report["packages"]["torch"]


def test_doctor_lists_missing_files_with_their_sources(here: Path, capsys: pytest.CaptureFixture[str]):
    for folder in (here, here / "nowhere"):
        assert main(["doctor", "--models", str(folder)]) == 1
        words = capsys.readouterr().out
        (line,) = [line for line in words.splitlines() if "uniportrait-faceid_sd15.bin" in line]
        assert line == (
            "  MISSING: faceid (generates with one person), 224 MB: uniportrait-faceid_sd15.bin from"
            f" https://huggingface.co/Junjie96/UniPortrait into {folder / 'uniid'} (licence: Apache-2.0)"
        )
        missing = [line for line in words.splitlines() if "MISSING: " in line or "optional: " in line]
        assert len(missing) == len(sources())
        assert all(" from https://" in line and " into " in line and " MB: " in line for line in missing[1:])
        assert "uniid fetch downloads the missing files" in words
        assert words.endswith("not ready to generate yet: files or packages are missing\n")


def test_doctor_lists_every_shipped_file_with_its_licence(here: Path, capsys: pytest.CaptureFixture[str]):
    copied = here / "models"
    shutil.copytree(MODELS, copied)
    for folder in (MODELS, copied):
        assert main(["doctor", "--models", str(folder)]) == 0
        words = capsys.readouterr().out
        assert "not used" not in words
        assert f"{folder}/uniid/meters.safetensors: measures pictures" in words
        found = [line for line in words.splitlines() if " MB; licence: " in line]
        assert len(found) == 6
        assert all("trained by this project" in line for line in found)
    with (copied / "uniid" / "uniportrait-faceid_sd15.safetensors").open("ab") as other:
        other.write(b" ")  # no longer ours
    main(["doctor", "--models", str(copied), "--json"])
    files = {file["name"]: file for file in json.loads(capsys.readouterr().out)["files"]}
    assert files["faceid"]["licence"] == "Apache-2.0"
    (copied / "shipped.json").write_text("[]", encoding="utf-8")
    main(["doctor", "--models", str(copied)])
    assert f"{copied / 'shipped.json'} cannot be read" in capsys.readouterr().out


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


# --- what does not ---

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


# --- fetch ---


def test_fetch_downloads_into_the_given_models_folder(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    models = here / "fetched"
    with running() as hub:
        hub.files["/Junjie96/UniPortrait/resolve/main/uniportrait-router_sd15.bin"] = b"weights"
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("UNIID_OFFLINE", "0")
        assert main(["fetch", "router", "--models", str(models)]) == 0
        assert (models / "uniid" / "uniportrait-router_sd15.bin").read_bytes() == b"weights"
        monkeypatch.setenv("UNIID_OFFLINE", "1")
        assert main(["fetch", "faceid", "--models", str(models)]) == 2
    assert "downloads are off while UNIID_OFFLINE" in capsys.readouterr().err
    assert main(["fetch", "everything", "--models", str(models)]) == 2
    assert (
        "unknown model file 'everything'; choose from insightface, faceid, router" in capsys.readouterr().err
    )


def test_doctor_names_an_invalid_file_in_the_models_folder(here: Path, capsys: pytest.CaptureFixture[str]):
    folder = here / "wrong"
    (folder / "uniid").mkdir(parents=True)
    (folder / "uniid" / "mine.safetensors").write_bytes(b"{")
    main(["doctor", "--models", str(folder)])
    assert "mine.safetensors is a file that cannot be read" in capsys.readouterr().out


def test_doctor_lists_unchecked_weights(models: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    folder = here / "models"
    shutil.copytree(models, folder)
    file = next(folder.rglob("det_10g.onnx"))
    model = onnx.load(file)
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["many"], value_ints=range(200_001)))
    onnx.save(model, file)
    assert main(["doctor", "--models", str(folder)]) == 0
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "det_10g.onnx: weights not checked: more than 200000 fields" in said


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older PyTorch"])
def test_one_flipped_bit_in_a_lora_beside_disables_nothing(
    models: Path, here: Path, capsys: pytest.CaptureFixture[str], zipped: bool
):
    folder, chance = here / "models", random.Random(7)
    shutil.copytree(models, folder)
    good = here / "good.pt"
    lora = {f"lora_unet_{number}.lora_down.weight": torch.ones(2, 2) for number in range(3)}
    torch.save(lora, good, _use_new_zipfile_serialization=zipped)
    (folder / "Lora").mkdir()
    for place in chance.sample(range(8 * good.stat().st_size), 60):
        data = bytearray(good.read_bytes())
        data[place // 8] ^= 1 << place % 8
        (folder / "Lora" / f"bit {place}.pt").write_bytes(data)
    index = ModelFolder(folder, also=())
    assert not index.unread
    assert {row.name: index.look_up(row.name) is None for row in sources()} == {
        row.name: ModelFolder(models, also=()).look_up(row.name) is None for row in sources()
    }
    assert main(["doctor", "--models", str(folder)]) == 0
    assert "ready to generate" in capsys.readouterr().out
    assert main(["generate", "a park", *QUICK, "--models", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"]
