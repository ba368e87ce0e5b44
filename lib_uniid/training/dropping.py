"""DropToken and DropPath for face structure (arXiv 2408.05939, section 3.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True)
class StructureDrop:
    """Masks for each sample's structure: ``scale`` 0 or 1 per sample, ``keep`` 0 or 1 per token."""

    scale: Float[Tensor, "b 1 1"]
    keep: Float[Tensor, "b n 1"]


def drop_structure(
    rows: int,
    tokens: int,
    generator: torch.Generator,
    *,
    path: float = 0.33,
    token: float = 0.33,
    rate: float = 0.5,
) -> StructureDrop:
    """A share ``path`` loses the whole branch, a share ``token`` loses tokens at ``rate``.

    The shares are the paper's; the paper does not state the rate of dropped tokens, 0.5 is our choice.
    """
    chance = torch.rand(rows, generator=generator)[:, None, None]
    kept = (torch.rand(rows, tokens, 1, generator=generator) >= rate).float()
    dropping = (chance >= path) & (chance < path + token)
    return StructureDrop(
        scale=(chance >= path).float(), keep=torch.where(dropping, kept, torch.ones_like(kept))
    )
