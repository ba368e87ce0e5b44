"""``uniid people`` and ``uniid forget``: people are listed, renamed, deleted and erased."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib_uniid.cli import main


@pytest.fixture
def uniid(webui_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command on a copy of a library with Anna and Ben; returns its JSON, or its error."""
    for name in ("library", "cache"):
        target = tmp_path / "models" / "uniid" / name
        target.mkdir(parents=True)
        for file in (webui_models / "uniid" / name).glob("*.safetensors"):
            (target / file.name).write_bytes(file.read_bytes())

    def run(*arguments: str) -> Any:
        code = main([*arguments, "--models", str(tmp_path / "models"), "--json"])
        captured = capsys.readouterr()
        return json.loads(captured.out) if code == 0 else (code, captured.err)

    return run


def test_people_are_listed_and_shown(uniid: Callable[..., Any]):
    assert uniid("people", "list") == {"people": ["Anna", "Ben"], "deleted": []}
    shown = uniid("people", "show", "Anna")
    assert (shown["name"], shown["references"], shown["crops"]) == ("Anna", 1, True)
    assert list(shown["encoders"]) == ["CurricularFace"]
    assert os.path.isfile(shown["file"])
    code, words = uniid("people", "show", "Eve")
    assert code == 2
    assert "'Eve'" in words


def test_a_person_is_renamed_unless_the_name_is_taken(uniid: Callable[..., Any]):
    assert uniid("people", "rename", "Anna", " Anne ") == {"name": "Anne"}
    assert uniid("people", "list")["people"] == ["Anne", "Ben"]
    assert uniid("people", "rename", "Anne", "Ben")[0] == 2


def test_a_deleted_person_can_be_brought_back_by_name_or_id(uniid: Callable[..., Any]):
    for by in ("name", "id"):
        gone = uniid("people", "delete", "Anna")
        listed = uniid("people", "list")
        assert listed == {"people": ["Ben"], "deleted": [{"name": "Anna", "id": gone["id"]}]}
        uniid("people", "restore", gone[by])
        assert uniid("people", "list") == {"people": ["Anna", "Ben"], "deleted": []}
    assert uniid("people", "restore", "Anna")[0] == 2


def test_forgetting_erases_the_bin_and_the_encodings_and_leaves_the_enrolled(
    uniid: Callable[..., Any], tmp_path: Path
):
    uniid("people", "delete", "Anna")
    assert uniid("forget")["people"] == ["Anna"]
    assert uniid("people", "list") == {"people": ["Ben"], "deleted": []}
    assert uniid("forget", "Ben")["people"] == ["Ben"]
    kept = [path.name for path in (tmp_path / "models").rglob("*.safetensors")]
    assert [name for name in kept if not name.startswith("null-identity-")] == []  # features of no person


def test_a_command_of_people_that_makes_no_sense_is_one_line(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["people", "erase"])
    words = capsys.readouterr().err
    assert words.count("\n") == 1
    assert words.endswith("see uniid people --help\n")
