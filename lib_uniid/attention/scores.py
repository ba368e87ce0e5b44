"""What is done with the scores of people at places before each place is given to one of them.

Pure functions without synchronisation. Scores on a grid are in float32, in units of their own deviation.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lib_uniid.attention.rows import RowSpan, entries
from lib_uniid.typing import Float

Grid = tuple[int, int]
"""Height and width in image tokens."""

TINY = 1e-6
"""Least deviation that scores are divided by."""

TEMPERATURE = 0.3
"""Of the probabilities of which each person gets an equal share, in units of the scores' deviation."""

ROUNDS = 4
"""How often shares and probabilities are made right in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRouter:
    """A router without training, which reads the identities' own attention at a site.

    A :class:`lib_uniid.attention.deciding.Router`. ``null`` are the null identity's keys; what they answer is
    the score of the background, which is subtracted from that of each person.
    """

    key: Float[Tensor, "r h i k c"]
    null: Float[Tensor, "1 h k c"] | None = None

    def to(self, like: Tensor) -> "AttentionRouter":
        return AttentionRouter(key=self.key.to(like), null=None if self.null is None else self.null.to(like))

    def of(self, run: RowSpan) -> "AttentionRouter":
        return AttentionRouter(key=entries(self.key, run), null=self.null)

    def __call__(
        self, query: Float[Tensor, "b n d"], hidden: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n i"]:
        return attention_scores(query, self.key, self.null)


def attention_scores(
    query: Float[Tensor, "b n d"],
    key: Float[Tensor, "r h i k c"],
    null: Float[Tensor, "1 h k c"] | None = None,
) -> Float[Tensor, "b n i"]:
    """The log-sum-exp of each person's attention logits over the tokens, less that of the null identity.

    It is the mean over the heads, in float32.
    """
    people = key.shape[2]
    keys = key if null is None else torch.cat([key, null[:, :, None].expand(len(key), -1, -1, -1, -1)], dim=2)
    heads = rearrange(query * key.shape[4] ** -0.5, "b n (h c) -> b h n c", h=key.shape[1])
    logits = heads @ rearrange(keys, "r h i k c -> r h c (i k)")
    by_person = logits.float().reshape(*logits.shape[:3], *keys.shape[2:4])  # b h n i k
    scores = by_person.logsumexp(dim=-1).mean(dim=1)
    return scores if null is None else scores[..., :people] - scores[..., people:]


def on_grid(scores: Float[Tensor, "b n i"], grid: Grid) -> Float[Tensor, "b i height width"]:
    """The scores as a picture, in float32."""
    return rearrange(scores.float(), "b (height width) i -> b i height width", height=grid[0])


def contrast(
    scores: Float[Tensor, "b i height width"], *, by_person: bool
) -> Float[Tensor, "b i height width"]:
    """What speaks for one person rather than for the others, with a deviation of 1 in each row.

    With ``by_person`` each person's mean over the places is 0.
    """
    centred = scores - scores.mean(dim=1, keepdim=True)
    if by_person:
        centred = centred - centred.mean(dim=(2, 3), keepdim=True)
    return centred / centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(TINY)


def presence(scores: Float[Tensor, "b i height width"]) -> Float[Tensor, "b 1 height width"]:
    """What speaks for any person rather than for the background, with a mean of 0 and a deviation of 1."""
    mean = scores.mean(dim=1, keepdim=True)
    mean = mean - mean.mean(dim=(2, 3), keepdim=True)
    return mean / mean.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp_min(TINY)


def smoothed(x: Float[Tensor, "b i height width"], share: float) -> Float[Tensor, "b i height width"]:
    """The mean over a square whose side is this share of the picture's shorter side; at least one place."""
    reach = round(share * min(x.shape[2:]) / 2)
    if reach == 0:
        return x
    return functional.avg_pool2d(x, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)


def resized(x: Float[Tensor, "b i _ _"], grid: Grid) -> Float[Tensor, "b i height width"]:
    """The mean over the places of a coarser grid, or between those of a finer one."""
    if x.shape[2:] == grid:
        return x
    if x.shape[2] > grid[0]:
        return functional.adaptive_avg_pool2d(x, grid)
    return functional.interpolate(x, size=grid, mode="bilinear", align_corners=False)


def in_columns(people: int, grid: Grid) -> Float[Tensor, "i height width"]:
    """Less the horizontal distance from each person's column, counted from left to right, in columns."""
    places = (torch.arange(grid[1]) + 0.5) / grid[1] * people
    centres = torch.arange(people) + 0.5
    return -(places - centres[:, None]).abs()[:, None].expand(people, *grid).contiguous()


def balanced(x: Float[Tensor, "b i height width"]) -> Float[Tensor, "b i height width"]:
    """Scores by which each person gets about an equal share of the picture (Sinkhorn's iteration)."""
    y = x / TEMPERATURE
    for _ in range(ROUNDS):
        y = y - y.logsumexp(dim=(2, 3), keepdim=True)
        y = y - y.logsumexp(dim=1, keepdim=True)
    return y * TEMPERATURE
