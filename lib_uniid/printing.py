"""Untrusted text (names, paths, contents of files), made safe to print.

Control characters, and characters that the terminal's encoding lacks, are shown as escapes.
"""

import json
import sys
import unicodedata
from argparse import ArgumentParser
from typing import Any, NoReturn, TextIO

_JOINERS = "\u200c\u200d\u00ad"
"""Invisible characters that are part of the spelling of names and have no other effect."""

_CONTROL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that move the cursor, change the text direction, or cannot be encoded."""

LONGEST = 400
"""Characters of one quoted value."""


def visible(text: str) -> str:
    r"""Text on one line, with control characters as escapes: ``\x1b[2J`` is shown and not executed.

    Bytes of a file name that are not text (lone surrogates in Python) are shown as ``\xe9``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(one) if _is_control(one) else one for one in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """At most ``longest`` characters: the start and the end, with the middle left out."""
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def encodable(text: str, encoding: str) -> str:
    """Text with the characters that ``encoding`` lacks as escapes, such as ``写`` in cp1252."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def one_json(value: Any, encoding: str) -> str:
    """JSON on one line, with escapes for characters that ``encoding`` lacks."""
    text = json.dumps(value, ensure_ascii=False)
    plain = text == visible(text) and text == encodable(text, encoding)
    return text if plain else json.dumps(value)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in _CONTROL and character not in _JOINERS


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python stores a byte of a file name that is not text
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class Parser(ArgumentParser):
    """Prints errors on one line, and only characters that the terminal can show."""

    def error(self, message: str) -> NoReturn:
        words = shortened(visible(" ".join(message.split())))
        self.exit(2, f"{self.prog.split()[0]}: {words}; see {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        stream: TextIO = file or sys.stderr
        stream.write(encodable(message, stream.encoding or "utf-8"))
