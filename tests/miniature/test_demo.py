"""The demo's own parts; the run itself needs the trained miniature."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import miniature
from miniature import SAMPLES, demo, showing


def test_people_are_named_after_their_files_and_kept_apart() -> None:
    paths = [Path("Anna-1.png"), Path("Ben.png"), Path("Anna_2.png")]
    assert demo.names_of(paths) == ["Anna", "Ben", "Anna 2"]


def test_a_sheet_has_a_labelled_tile_for_each_picture() -> None:
    tiles = [np.full((128, 128, 3), value, np.uint8) for value in (40, 200)]
    page = showing.sheet(tiles, ["dark", "light"])
    assert page.shape == (256 + 22, 512, 3)
    assert (page[:256, :256] == 40).all()
    assert (page[:256, 256:] == 200).all()
    assert page[256:].min() < 128, "the labels are written in black"


def test_without_the_weights_it_prints_how_to_make_them_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(miniature, "MODELS", tmp_path / "models")
    assert demo.main(["--out", str(tmp_path / "out")]) == 2
    assert "miniature.recipes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_person_is_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--people", "Anna.png", "--out", str(tmp_path / "out")]) == 2
    assert "2 to 8 people, got 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "file"), "file is a file, and a folder is needed"),
        (("--out", "x" * 300), "is too long for this disk"),
        (("--people", "file", "nothing.png"), "file is not a picture"),
        (("--people", str(SAMPLES / "Anna-1.png"), "nothing.png"), "file nothing.png not found"),
        (("--seed", "-2"), "--seed must lie in [0, 4294967295], or be -1 to draw one, got -2"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_errors_are_reported_before_anything_is_loaded(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("I am a text.")
    code = f"import os, sys; from miniature.demo import main; os.chdir({str(tmp_path)!r}); "
    code += f"print(main({list(arguments)!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
    assert done.stderr.startswith("demo: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_a_wrong_option_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--seed", "many"])
    words = capsys.readouterr().err
    assert words.endswith("see dev.py demo --help\n")
    assert words.count("\n") == 1


def test_a_person_who_is_missing_from_a_picture_counts_as_missing() -> None:
    anna, ben = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
    pictures = [{"Anna": anna}, {"Anna": anna * 3, "Ben": ben}, {"Anna": anna, "Ben": None}]
    first, second = showing.likeness({"Anna": anna, "Ben": ben}, pictures)
    assert (first["pictures"], first["found"], first["similarity"]) == (3, 3, pytest.approx(1))
    assert (second["pictures"], second["found"], second["similarity"]) == (2, 1, pytest.approx(1))
    words = demo.in_words(second)
    assert words.startswith("Ben: found in 1 of 2 pictures, there 1.00 like their reference, 0.00 like")
    (nowhere,) = showing.likeness({"Ben": ben}, [{"Ben": None}])
    assert demo.in_words(nowhere) == "Ben: found in 0 of 1 pictures"


def test_a_folder_that_was_lost_does_not_lose_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    tile = np.zeros((8, 8, 3), np.uint8)
    report = showing.written(tmp_path / "out", {"demo": tile}, {"people": []})
    path = Path(report["pictures"]["demo"])
    assert path.is_file()
    assert "out is a file, and a folder is needed" in report["note"]
    assert json.loads((path.parent / "report.json").read_text(encoding="utf-8")) == report


def test_the_sheet_names_missing_people() -> None:
    assert showing.caption("three", ["Ben"]) == "made: three, Ben missing"
    assert showing.caption("two", []) == "made: two"
    assert showing.caption("two-routing", []) == "who gets which place"
