"""The commands of ``uniid``, one module each: ``run`` takes the options and returns an :class:`Outcome`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``result`` is printed as JSON; ``words`` are the same as lines of text."""

    result: dict[str, Any]
    words: Sequence[str]
    code: int = 0
