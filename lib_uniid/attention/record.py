"""How the latest UNet call was routed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_uniid.attention.math import route
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """How one run of cond rows was routed: the router's logits, the map that was used, or both.

    ``logits`` is None without a router, ``done`` if each image token went to the best person.
    """

    logits: Float[Tensor, "b n i"] | None = None
    done: Float[Tensor, "m p i"] | None = None

    @property
    def routing(self) -> Float[Tensor, "m p i"]:
        """The map that was used."""
        if self.done is not None:
            return self.done
        assert self.logits is not None
        return route(self.logits)


@dataclass(slots=True)
class RoutingRecord:
    """The routing of the latest UNet call by the index of the site: cond rows only, not copied.

    The maps are joined on access, not in every step.
    """

    routed: dict[int, tuple[Routed, ...]] = field(default_factory=dict[int, tuple[Routed, ...]])

    def note(self, index: int, routed: Sequence[Routed]) -> None:
        """Replace the entry of a site."""
        self.routed[index] = tuple(routed)

    @property
    def maps(self) -> dict[int, Float[Tensor, "b n i"]]:
        """The maps that were used: one-hot, soft or drawn."""
        return {index: torch.cat([run.routing for run in routed]) for index, routed in self.routed.items()}

    @property
    def logits(self) -> dict[int, Float[Tensor, "b n i"]]:
        """The router's logits, with their gradient, at the sites that have a router."""
        by_site = {
            index: [run.logits for run in routed if run.logits is not None]
            for index, routed in self.routed.items()
        }
        return {index: torch.cat(logits) for index, logits in by_site.items() if logits}
