"""What the identity branch computes at one site; pure functions, no modules, no state, no synchronisation.

Keys and values come with their heads apart, as they are cached: ``r`` is 1 when all rows share them and ``b``
when each row has its own. Formulas: arXiv 2408.05939, sections 3.2 and 3.3.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

_torchs_own: Any = torch.ops.aten.scaled_dot_product_attention.default  # pyright: ignore[reportUnknownMemberType]
"""Not the function in ``torch.nn.functional``, which some programs replace: SageAttention's makes NaN of keys
that are all zero."""

MASK_FLOOR = 1e-3  # official floor of the sum of masks: nothing is drawn up to 1 outside of all of them


def attend(
    query: Float[Tensor, "b n d"],
    key: Float[Tensor, "r h t c"],
    value: Float[Tensor, "r h t c"],
    bias: Float[Tensor, "b 1 n t"] | None = None,
) -> Float[Tensor, "b n d"]:
    """Attend in ``h`` heads of ``c`` channels with scale ``c ** -0.5``; ``bias`` is added to the logits."""
    rows, heads = query.shape[0], key.shape[1]
    # Not einops: this runs at every site in every step, and reading a pattern takes as long as the attention.
    out: Tensor = _torchs_own(
        query.view(rows, query.shape[1], heads, -1).transpose(1, 2),
        key.expand(rows, -1, -1, -1),
        value.expand(rows, -1, -1, -1),
        attn_mask=bias,
    )
    return out.transpose(1, 2).flatten(2)


def route(logits: Float[Tensor, "b n i"]) -> Float[Tensor, "b n i"]:
    """Give each image token wholly to its best identity (one-hot; the first of equals)."""
    people = torch.arange(logits.shape[-1], device=logits.device)
    return (logits.argmax(dim=-1, keepdim=True) == people).to(logits.dtype)


def chosen_attention(
    query: Float[Tensor, "b n d"],
    key: Float[Tensor, "r h i k c"],
    value: Float[Tensor, "r h i k c"],
    routing: Float[Tensor, "b n i"],
) -> Float[Tensor, "b n d"]:
    """``routed_attention`` for a one-hot map, in one fused attention over the keys of all identities.

    The keys of the identities that were not chosen are shut out of the softmax, so it is that of the chosen
    one's own tokens.
    """
    bias = repeat(routing.log(), "b n i -> b 1 n (i k)", k=key.shape[3])
    return attend(query, key.flatten(2, 3), value.flatten(2, 3), bias)


def routed_attention(
    query: Float[Tensor, "b n d"],
    key: Float[Tensor, "r h i k c"],
    value: Float[Tensor, "r h i k c"],
    routing: Float[Tensor, "m p i"],
) -> Float[Tensor, "b n d"]:
    """Sum over identities of ``routing`` times the attention to that identity's own tokens.

    Any map will do: hard, soft (training), drawn, with zeros for tokens without an identity. Its rows ``m``
    and places ``p`` are 1 or as many as those of the query.
    """
    people, scale = key.shape[2], key.shape[4] ** -0.5
    heads = rearrange(query * scale, "b n (h c) -> b h n c", h=key.shape[1])
    logits = heads @ rearrange(key, "r h i k c -> r h c (i k)")
    weights = rearrange(logits, "b h n (i k) -> b h n i k", i=people).softmax(dim=-1)
    weights = weights * rearrange(routing, "m p i -> m 1 p i 1")
    out = rearrange(weights, "b h n i k -> b h n (i k)") @ rearrange(value, "r h i k c -> r h (i k) c")
    return rearrange(out, "b h n c -> b n (h c)")


def resize_masks(masks: Sequence[Float[Tensor, "_ _"]], grid: tuple[int, int]) -> Float[Tensor, "n i"]:
    """Bring drawn masks, each of any size, to a layer's grid (bilinear) and divide them by their sum.

    The result sums to 1 where anything is drawn (averaging where masks overlap) and is 0 outside of all.
    """
    small = [
        F.interpolate(mask[None, None], size=grid, mode="bilinear", align_corners=False)[0, 0]
        for mask in masks
    ]
    stacked = rearrange(small, "i height width -> (height width) i")
    return stacked / stacked.sum(dim=-1, keepdim=True).clamp_min(MASK_FLOOR)


def grids(height: int, width: int) -> dict[int, tuple[int, int]]:
    """Every grid that a UNet of stride-2 levels can make of a latent, by its number of image tokens.

    Odd sizes are rounded up at each level, as the UNet's padded convolutions do.
    """
    if height < 1 or width < 1:
        raise ConfigError(f"a latent must have a height and a width of at least 1, got {height} x {width}")
    sizes: dict[int, tuple[int, int]] = {}
    while height * width not in sizes:
        sizes[height * width] = (height, width)
        height, width = (height + 1) // 2, (width + 1) // 2
    return sizes


def grid_of(tokens: int, latent_size: tuple[int, int]) -> tuple[int, int]:
    """The grid of a layer of so many image tokens, for latents of (rows, columns) or of their proportions.

    Raises ConfigError if so many tokens make no grid like it.
    """
    if known := grids(*latent_size).get(tokens):
        return known
    height = round((tokens * latent_size[0] / latent_size[1]) ** 0.5)
    nearest = sorted(range(max(1, height - 2), height + 3), key=lambda rows: abs(rows - height))
    for rows in nearest:
        if tokens % rows == 0:
            return rows, tokens // rows
    raise ConfigError(
        f"a layer of {tokens} image tokens is no grid of the proportions {latent_size[1]} to "
        f"{latent_size[0]}; switch off what merges image tokens"
    )
