"""The commands of ``uniid``, one module each: ``run`` takes the options and returns an :class:`Outcome`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``result`` can be written as JSON; ``words`` say the same to a person, line by line."""

    result: dict[str, Any]
    words: Sequence[str]
    code: int = 0
