"""Requests that are kept under a name."""

from pathlib import Path

import pytest

from lib_uniid.api.request import parse
from lib_uniid.errors import ConfigError
from lib_uniid.ui.presets import Presets

BOTH = parse(
    {"version": 1, "people": [{"name": "Anna", "weight": 0.5}, {"name": "Ben"}], "identity_scale": 0.9}
)


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    return Presets(path=tmp_path / "uniid" / "presets.json")


def test_a_preset_is_kept_until_it_is_deleted(presets: Presets):
    assert presets.names() == []
    presets.save(" at the market ", BOTH)
    presets.save("Alone", parse({"version": 1, "people": [{"name": "Anna"}]}))
    again = Presets(path=presets.path)
    assert again.names() == ["Alone", "at the market"]
    assert again.get("at the market") == BOTH
    again.delete("at the market")
    assert presets.names() == ["Alone"]
    with pytest.raises(ConfigError, match=r"no preset 'at the market'; saved presets: Alone"):
        presets.get("at the market")


def test_presets_of_methods_come_first_and_cannot_be_changed(tmp_path: Path):
    presets = Presets(path=tmp_path / "presets.json", of_methods=("Few steps",))
    presets.save("Alone", BOTH)
    assert presets.names() == ["Few steps", "Alone"]
    with pytest.raises(ConfigError, match="'Few steps' is a preset of UniID, which cannot be changed"):
        presets.save(" Few steps ", BOTH)
    with pytest.raises(ConfigError, match="cannot be changed"):
        presets.delete("Few steps")


def test_pictures_are_not_kept(presets: Presets):
    shown = parse({"version": 1, "people": [{"name": "Zoe", "references": ["aGVsbG8="]}]})
    with pytest.raises(ConfigError, match=r"does not save uploaded pictures.*Zoe"):
        presets.save("Zoe", shown)
    assert not presets.path.exists()


def test_a_preset_takes_a_re_enrolled_person_without_a_note(presets: Presets):
    presets.save("one", parse({"version": 1, "people": [{"id": "0", "fingerprint": "1"}]}))
    assert presets.get("one").people[0].fingerprint is None


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\x1b[2J", "a\u202eb"])
def test_a_name_has_to_be_a_name(presets: Presets, name: str):
    with pytest.raises(ConfigError, match=r"1 to 200 characters|invisible character"):
        presets.save(name, BOTH)


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2, "presets": {}}', '{"version": 1}'])
def test_an_unreadable_file_is_not_changed(presets: Presets, text: str):
    presets.path.parent.mkdir()
    presets.path.write_text(text)
    with pytest.raises(ConfigError):
        presets.save("one", BOTH)
    assert presets.path.read_text() == text
