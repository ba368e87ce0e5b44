"""Assigns image tokens to people: by drawn masks, by the router elsewhere, or to all people equally."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_uniid.attention.math import grids, resize_masks, route
from lib_uniid.config import Routing
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

Choose = Callable[[Float[Tensor, "b n i"]], Float[Tensor, "b n i"]]
"""Router logits to a routing map, as the trainer's Gumbel-softmax."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRule:
    """The routing of one generation, the same at every site.

    ``fixed`` is the part that does not depend on the router: one map per number of image tokens, or one row
    for all tokens; None without such a part. ``learned`` has the indices of the people among whom the router
    chooses outside ``fixed``; empty without a router. ``choose`` None gives each token to the best of them.
    """

    fixed: Mapping[int, Float[Tensor, "n i"]] | Float[Tensor, "1 i"] | None
    learned: tuple[int, ...]
    people: int
    choose: Choose | None

    @property
    def one_hot(self) -> bool:
        """Whether every place belongs wholly to one person."""
        return self.fixed is None and self.choose is None

    @property
    def drawn(self) -> bool:
        """Whether the fixed part differs by place."""
        return self.fixed is not None and not isinstance(self.fixed, Tensor)

    def fixed_at(self, tokens: int) -> Float[Tensor, "p i"] | None:
        """The fixed part for a layer of so many image tokens.

        Raises ConfigError for a layer that the latent size of the masks does not have.
        """
        if self.fixed is None or isinstance(self.fixed, Tensor):
            return self.fixed
        if tokens not in self.fixed:
            raise ConfigError(
                f"a layer of {tokens} image tokens does not belong to the latent size of the masks; "
                "make a new plan for the size that is being sampled"
            )
        return self.fixed[tokens]

    def mean_at(self, tokens: int) -> Float[Tensor, "p i"]:
        """The map with the router's share spread evenly: the map for rows without router logits."""
        fixed = self.fixed_at(tokens)
        if fixed is None:
            fixed = torch.zeros(1, self.people)
        if not self.learned:
            return fixed if self.fixed is not None else fixed + 1.0 / self.people
        even = fixed.new_zeros(self.people)
        even[list(self.learned)] = 1.0 / len(self.learned)
        return fixed + left_over(fixed) * even

    def mean_of(self, gains: Sequence[float]) -> float:
        """The mean of one number per person under that map; only without drawn masks."""
        assert not self.drawn
        return float((self.mean_at(0) @ torch.tensor(gains)).item())

    def covered_at(self, tokens: int) -> Float[Tensor, "p 1"] | None:
        """The share of each place that belongs to any person; None if that is 1 everywhere."""
        covered = self.mean_at(tokens).sum(dim=-1, keepdim=True)
        return None if torch.allclose(covered, torch.ones_like(covered), atol=1e-4) else covered

    def complete(
        self,
        logits: Float[Tensor, "b n i"],
        fixed: Float[Tensor, "1 p i"] | None,
        bar: Float[Tensor, " i"] | None,
    ) -> Float[Tensor, "b n i"]:
        """The whole map of the cond rows. ``bar`` is -inf for people whom the router may not choose."""
        logits = logits if bar is None else logits + bar
        chosen = route(logits) if self.choose is None else self.choose(logits)
        return chosen if fixed is None else fixed + left_over(fixed) * chosen

    def bar(self, like: Tensor) -> Float[Tensor, " i"] | None:
        """What to add to the logits so that only the ``learned`` are chosen; None when all are."""
        if len(self.learned) == self.people:
            return None
        bar = torch.full((self.people,), -torch.inf)
        bar[list(self.learned)] = 0.0
        return bar.to(like)


def left_over(fixed: Float[Tensor, "*m p i"]) -> Float[Tensor, "*m p 1"]:
    """The share of each place that no identity has yet."""
    return 1.0 - fixed.sum(dim=-1, keepdim=True)


def routing_rule(
    masks: Sequence[Float[Tensor, "height width"] | None],
    routing: Routing,
    latent_size: tuple[int, int] | None,
    choose: Choose | None = None,
) -> RoutingRule:
    """Make the rule for people with these masks. Masks of different people may differ in resolution.

    Drawn masks take precedence; people without one are routed among themselves in the rest of the picture.
    Raises ConfigError when the routing is by mask and one is missing, or masks come without a latent size.
    """
    people = len(masks)
    undrawn = tuple(i for i, mask in enumerate(masks) if mask is None)
    if routing == "mask" and undrawn:
        raise ConfigError(f"routing by mask needs a mask for each person; person {undrawn[0] + 1} has none")
    if routing == "off":
        return RoutingRule(
            fixed=torch.full((1, people), 1.0 / people), learned=(), people=people, choose=None
        )
    if len(undrawn) == people:
        learned = undrawn if people > 1 else ()
        return RoutingRule(fixed=None, learned=learned, people=people, choose=choose)
    if latent_size is None:
        raise ConfigError("drawn masks need the latent size that they are for; give height and width")
    maps = {tokens: _drawn(masks, grid) for tokens, grid in grids(*latent_size).items()}
    if len(undrawn) == 1:  # the rest of the picture is theirs; the router is not needed
        for drawn in maps.values():
            drawn[:, undrawn[0]] = left_over(drawn)[:, 0]
        undrawn = ()
    return RoutingRule(fixed=maps, learned=undrawn, people=people, choose=choose)


def _drawn(masks: Sequence[Tensor | None], grid: tuple[int, int]) -> Float[Tensor, "n i"]:
    known = next(mask for mask in masks if mask is not None)
    none = known.new_zeros(1, 1)
    return resize_masks([none if mask is None else mask for mask in masks], grid)
