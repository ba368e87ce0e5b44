"""UniPortrait's router at one site (arXiv 2408.05939, section 3.3), with all that is fixed computed."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from lib_uniid.attention.rows import RowSpan, entries
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRouter:
    """A :class:`lib_uniid.attention.deciding.Router`.

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
