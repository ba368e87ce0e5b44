"""``uniid`` on a folder of narrow models, in a folder with a few pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_uniid.cli import main
from tests.red_faces import red_face_picture

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
