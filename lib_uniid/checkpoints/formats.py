"""The file formats that plugins registered."""

from lib_uniid.checkpoints.format import Format
from lib_uniid.checkpoints.header import Header
from lib_uniid.checkpoints.sources import sources


def formats() -> tuple[Format, ...]:
    """All of them; a format marks its files by itself, whatever the order."""
    return tuple(row.format for row in sources() if row.format is not None)


def detect(header: Header) -> Format | None:
    """The format whose marks the file has, whole or not."""
    return next((candidate for candidate in formats() if candidate.matches(header)), None)


def part_of(header: Header) -> Format | None:
    """The format whose file this is a part of."""
    return next((one for one in formats() if one.fragments and one.fragments.matches(header)), None)
