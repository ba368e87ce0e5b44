"""Text that others wrote (names, paths, contents of files), made safe to print.

A terminal obeys control characters, and may know only some letters. Both are shown as escapes here.
"""

import json
import sys
import unicodedata
from argparse import ArgumentParser
from typing import Any, NoReturn, TextIO

_JOINERS = "\u200c\u200d\u00ad"
"""Invisible characters that names are spelled with, and that change nothing else."""

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that move the cursor, turn the line around, or cannot be encoded."""

LONGEST = 400
"""Characters of one quoted value."""


def visible(text: str) -> str:
    r"""Text on one line, with control characters as escapes: a terminal shows ``\x1b[2J`` and does nothing.

    Bytes of a file name that are no text (lone surrogates in Python) are shown as ``\xe9``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(one) if _is_obeyed(one) else one for one in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """At most ``longest`` characters: the start and the end, with the middle left out."""
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def encodable(text: str, encoding: str) -> str:
    """Text with the letters that ``encoding`` lacks as escapes, such as ``写`` in cp1252."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def one_json(value: Any, encoding: str) -> str:
    """JSON on one line that any terminal can show: escaped where ``encoding`` cannot write it."""
    text = json.dumps(value, ensure_ascii=False)
    plain = text == visible(text) and text == encodable(text, encoding)
    return text if plain else json.dumps(value)


def _is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in _OBEYED and character not in _JOINERS


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is no text
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class Parser(ArgumentParser):
    """Says what is wrong in one line, and prints what the terminal can show."""

    def error(self, message: str) -> NoReturn:
        words = shortened(visible(" ".join(message.split())))
        self.exit(2, f"{self.prog.split()[0]}: {words}; see {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        stream: TextIO = file or sys.stderr
        stream.write(encodable(message, stream.encoding or "utf-8"))
