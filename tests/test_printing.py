"""Names and contents of files reach a terminal as text without control characters, in its own encoding."""

import json

import pytest

from lib_uniid.printing import encodable, one_json, shortened, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Anna", "Anna"),
        ("Zoë 写真 👩\u200d🔬", "Zoë 写真 👩\u200d🔬"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b2J", r"\x9b2J"),  # the same escape in one character
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("gnp\u202e.exe", r"gnp\u202e.exe"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_letters_that_a_terminal_lacks_are_shown_as_escapes():
    assert encodable("Zoë 写", "cp1252") == r"Zoë \u5199"


def test_json_means_the_same_on_every_terminal():
    value = {"写": "caf\udce9 \x9b2J"}
    for encoding in ("utf-8", "cp1252", "ascii"):
        text = one_json(value, encoding)
        text.encode(encoding)
        assert visible(text) == text
        assert json.loads(text) == value
    assert "写" in one_json({"name": "写"}, "utf-8")


def test_long_text_keeps_its_ends():
    text = shortened("a" * 300 + "b" * 300, 45)
    assert len(text) == 45
    assert text.startswith("aaa")
    assert text.endswith("bbb")
