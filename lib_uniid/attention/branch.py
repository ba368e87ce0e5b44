"""What is added to the text attention of one site, behind one small protocol.

A branch prepares once what is the same for calls of one kind, and adds its output in each call. It gets all
rows of the call at once, because on a fast GPU the cost is the number of operations.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Rows
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One call of a cross-attention layer; ``site`` is its number.

    ``hidden`` is what the query was made from, and ``text`` the text attention's own output, before the
    layer's last projection. ``record`` is None if the routing is not recorded. ``left`` is what a branch
    leaves for those after it in this call.
    """

    site: int
    rows: Rows
    query: Float[Tensor, "b n d"]
    hidden: Float[Tensor, "b n d"]
    text: Float[Tensor, "b n d"]
    record: RoutingRecord | None
    left: dict[int, Any] = field(default_factory=dict[int, Any])


@runtime_checkable
class Prepared(Protocol):
    """A branch that is ready for calls of one kind."""

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        """What is added to ``call.text``: zeros in the rows that belong to no picture being made."""
        ...


@runtime_checkable
class Branch(Protocol):
    """The part of a method's output that is added at one site."""

    def state(self, progress: float) -> Hashable:
        """What depends on the share of the steps done; None where nothing is added now."""
        ...

    def prepare(self, state: Hashable, query: Float[Tensor, "b n d"], rows: Rows) -> Prepared:
        """For calls with queries of this precision, device and length, with these rows and this state."""
        ...
