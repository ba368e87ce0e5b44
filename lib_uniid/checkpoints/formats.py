"""The registered file formats."""

from lib_uniid.checkpoints.format import Format
from lib_uniid.checkpoints.header import Header
from lib_uniid.checkpoints.sources import sources


def formats() -> tuple[Format, ...]:
    """All registered formats; their order does not matter."""
    return tuple(row.format for row in sources() if row.format is not None)


def detect(header: Header) -> Format | None:
    """The format whose marks the file has; the file may be incomplete."""
    return next((candidate for candidate in formats() if candidate.matches(header)), None)


def part_of(header: Header) -> Format | None:
    """The format of which the file is a part."""
    return next((one for one in formats() if one.fragments and one.fragments.matches(header)), None)
