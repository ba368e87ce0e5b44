"""A trained router at one site (UniPortrait, arXiv 2408.05939, section 3.3), which methods share."""

from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lib_uniid.attention.rows import RowSpan, entries
from lib_uniid.typing import Float


class TwoLayers(nn.Sequential):
    """One side of the router: theta reads image tokens, phi reads identities."""

    def __init__(self, inputs: int, outputs: int, inner: int | None = None) -> None:
        inner = inner or 2 * inputs
        super().__init__(nn.Linear(inputs, inner), nn.GELU(), nn.Linear(inner, outputs, bias=False))

    @property
    def first(self) -> nn.Linear:
        return cast("nn.Linear", self[0])

    @property
    def second(self) -> nn.Linear:
        return cast("nn.Linear", self[2])


class RouterLayers(nn.Module):
    """The layers of a router, added by :meth:`add_router` to a module that may have others."""

    to_q_router: TwoLayers
    to_k_router: TwoLayers
    aggr_router: nn.Linear

    def add_router(self, *, width: int, context: int, tokens: int, inner: int | None = None) -> None:
        """New layers for ``tokens`` tokens a person of ``context`` channels, at a site ``width`` wide.

        ``inner`` are theta's channels between its layers; None takes those of the paper's form.
        """
        self.to_q_router = TwoLayers(width, width, inner)
        self.to_k_router = TwoLayers(context, width)
        self.aggr_router = nn.Linear(tokens, 1)

    def keys(self, tokens: Float[Tensor, "r i k c"]) -> Float[Tensor, "r i d"]:
        """What each identity's tokens answer to; not yet folded with the query side."""
        aggregated = self.aggr_router(rearrange(tokens, "r i k c -> r i c k"))
        return self.to_k_router(rearrange(aggregated, "r i c 1 -> r i c"))

    def of(self, tokens: Float[Tensor, "r i k c"]) -> "SiteRouter":
        """For people with these tokens."""
        theta = self.to_q_router
        keys = fold_keys(self.keys(tokens), theta.second.weight)
        return SiteRouter(weight=theta.first.weight, bias=theta.first.bias, keys=keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRouter:
    """A :class:`lib_uniid.attention.deciding.Router`, with all that is fixed computed.

    ``weight`` and ``bias`` are the first layer of theta, which reads image tokens; its second layer, being
    linear, sits in the identities' ``keys`` (:func:`fold_keys`), which halves the cost and changes nothing.
    """

    weight: Float[Tensor, "e d"]
    bias: Float[Tensor, " e"]
    keys: Float[Tensor, "r i e"]

    def to(self, like: Tensor) -> "SiteRouter":
        return SiteRouter(weight=self.weight.to(like), bias=self.bias.to(like), keys=self.keys.to(like))

    def of(self, run: RowSpan) -> "SiteRouter":
        return SiteRouter(weight=self.weight, bias=self.bias, keys=entries(self.keys, run))

    def __call__(
        self, query: Float[Tensor, "b n d"], hidden: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n i"]:
        return F.gelu(F.linear(hidden, self.weight, self.bias)) @ self.keys.transpose(1, 2)


def fold_keys(keys: Float[Tensor, "r i d"], second_layer: Float[Tensor, "d e"]) -> Float[Tensor, "r i e"]:
    """Move theta's second layer to the keys: ``(W2 g) . key = g . (W2^T key)``."""
    return keys @ second_layer
