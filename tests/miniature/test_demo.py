"""The demo's own parts; the run itself needs the trained miniature."""

from pathlib import Path

import numpy as np
import pytest

from lib_uniid import miniature
from lib_uniid.miniature import demo


def test_people_are_named_after_their_files_and_kept_apart() -> None:
    paths = [Path("Anna-1.png"), Path("Ben.png"), Path("Anna_2.png")]
    assert demo.names_of(paths) == ["Anna", "Ben", "Anna 2"]


def test_a_sheet_has_a_labelled_tile_for_each_picture() -> None:
    tiles = [np.full((128, 128, 3), value, np.uint8) for value in (40, 200)]
    page = demo.sheet(tiles, ["dark", "light"])
    assert page.shape == (256 + 22, 512, 3)
    assert (page[:256, :256] == 40).all()
    assert (page[:256, 256:] == 200).all()
    assert page[256:].min() < 128, "the labels are written in black"


def test_without_the_weights_it_says_how_to_make_them_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(miniature, "MODELS", tmp_path / "models")
    assert demo.main(["--out", str(tmp_path / "out")]) == 2
    assert "lib_uniid.miniature.recipes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_person_is_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--people", "Anna.png", "--out", str(tmp_path / "out")]) == 2
    assert "2 to 8 people, got 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
