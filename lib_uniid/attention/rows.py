"""The rows of a UNet call: which are guided by the prompt, which against it, and which have no person."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from torch import Tensor

from lib_uniid.errors import ConfigError


class Role(Enum):
    """What a batch row is for; ``STYLE`` is the picture whose style the rows after it may take."""

    COND = "cond"
    UNCOND = "uncond"
    STYLE = "style"
    UNTOUCHED = "untouched"

    @property
    def guided(self) -> bool:
        """Whether the row belongs to a picture being made, on either side of its guidance."""
        return self in (Role.COND, Role.UNCOND)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSpan:
    """Neighbouring rows of one role; ``entries`` counts them among all rows of that role."""

    role: Role
    rows: slice
    entries: slice


class Rows:
    """The host's description of the next UNet call; it may change all attributes between calls.

    ``roles`` has one role per batch row; ``progress`` is the share of the sampling steps already done, in [0,
    1]: of all steps from noise, so a pass that begins with less noise begins later. ``before`` is the number
    of cond rows that earlier calls of the same evaluation of the model had. ``text_length`` is the number of
    text tokens of cond rows before the host repeated them to the length of the other rows; None says that it
    repeats nothing.
    """

    def __init__(self, roles: Iterable[Role], progress: float = 0.0, before: int = 0) -> None:
        self.progress, self.before = progress, before
        self.text_length: int | None = None
        self.roles = tuple(roles)

    @property
    def roles(self) -> tuple[Role, ...]:
        return self._roles

    @roles.setter
    def roles(self, roles: Iterable[Role]) -> None:
        self._roles = tuple(roles)
        self._runs = _runs(self._roles)

    @property
    def runs(self) -> tuple[RowSpan, ...]:
        """The batch in slices, so that no index tensor has to travel to the device."""
        return self._runs

    def require(self, rows: int) -> None:
        """Raise ConfigError unless the UNet is called with as many rows as have a role."""
        if rows != len(self._roles):
            raise ConfigError(
                f"an attention layer is called with {rows} rows and the host named {len(self._roles)}; name "
                "all rows before each call, or switch off the extension that takes them apart (regional "
                "prompts in attention mode do)"
            )


def entries(shared_or_per_row: Tensor, run: RowSpan) -> Tensor:
    """Those of a run, of a tensor with one entry for all rows or one per row of that role."""
    return shared_or_per_row if shared_or_per_row.shape[0] == 1 else shared_or_per_row[run.entries]


def _runs(roles: tuple[Role, ...]) -> tuple[RowSpan, ...]:
    seen = dict.fromkeys(Role, 0)
    runs: list[RowSpan] = []
    row = 0
    for role, group in groupby(roles):
        count = len(list(group))
        runs.append(
            RowSpan(role=role, rows=slice(row, row + count), entries=slice(seen[role], seen[role] + count))
        )
        row, seen[role] = row + count, seen[role] + count
    return tuple(runs)
