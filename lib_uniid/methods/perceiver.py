"""The block of which published resamplers are made, as in IP-Adapter Plus (after arXiv 2204.14198).

Names of modules and parameters are those of the published files.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lib_uniid.typing import Float

HEAD_WIDTH = 64
"""Channels of a head in the published files, which the tensors do not show."""


class TokenAttention(nn.Module):
    """Latents attend to features followed by the latents themselves, each under a norm of its own."""

    def __init__(self, dim: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, heads * head_width, bias=False)
        self.to_kv = nn.Linear(dim, 2 * heads * head_width, bias=False)
        self.to_out = nn.Linear(heads * head_width, dim, bias=False)

    def forward(
        self,
        features: Float[Tensor, "b t d"],
        latents: Float[Tensor, "b k d"],
        bias: Float[Tensor, "b 1 1 s"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """``bias`` is added to the logits of the ``s = t + k`` keys."""
        latents = self.norm2(latents)
        key, value = self.to_kv(torch.cat([self.norm1(features), latents], dim=1)).chunk(2, dim=-1)
        query, key, value = (
            rearrange(x, "b n (h c) -> b h n c", h=self.heads) for x in (self.to_q(latents), key, value)
        )
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.to_out(rearrange(out, "b h n c -> b n (h c)"))


def _feed_forward(dim: int, mult: int) -> nn.Sequential:
    """Norm, and two layers around a GELU; ``mult`` times as wide inside."""
    return nn.Sequential(
        nn.LayerNorm(dim),
        nn.Linear(dim, mult * dim, bias=False),
        nn.GELU(),
        nn.Linear(mult * dim, dim, bias=False),
    )


def layers(depth: int, *, reads: int, dim: int, heads: int, head_width: int, mult: int) -> nn.ModuleList:
    """``depth`` layers, each of ``reads`` attentions to features and a feed-forward network."""
    return nn.ModuleList(
        nn.ModuleList(
            [*(TokenAttention(dim, heads, head_width) for _ in range(reads)), _feed_forward(dim, mult)]
        )
        for _ in range(depth)
    )
