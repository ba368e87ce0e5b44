"""Self-attention in which pictures take the style of another one, as StyleAligned does (arXiv 2312.02133).

The picture whose style is taken is sampled along. The rows after its row attend to its image tokens beside
their own: its keys and values are appended to theirs.

As in ``injection``, hooks on ``to_q``, ``to_k`` and ``to_v`` take what the host attends with,
and a pre-hook on ``to_out[0]`` puts the shared attention in the place of the host's own.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from lib_uniid.attention import compiled
from lib_uniid.attention.math import attend
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

EPS = 1e-5  # added to the variance, as in StyleAligned


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How strongly rows attend to the style row.

    ``score_shift`` is added to the logits of the style row's tokens and ``score_scale`` multiplies its keys.
    With ``adain`` queries and keys are given the style row's mean and deviation over the image tokens first.
    """

    score_shift: float = -0.5
    score_scale: float = 1.0
    adain: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.score_shift):
            raise ConfigError(f"score shift must be a finite number, got {self.score_shift}")
        if not 0.0 <= self.score_scale <= 2.0:  # also refuses NaN
            raise ConfigError(f"score scale must lie in [0, 2], got {self.score_scale}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Projected:
    """Queries, keys and values of some rows at one self-attention, heads not yet apart."""

    query: Float[Tensor, "b n d"]
    key: Float[Tensor, "b n d"]
    value: Float[Tensor, "b n d"]

    def __getitem__(self, rows: slice) -> "Projected":
        return Projected(query=self.query[rows], key=self.key[rows], value=self.value[rows])


def adain(x: Float[Tensor, "b n d"], style: Float[Tensor, "1 n d"]) -> Float[Tensor, "b n d"]:
    """Give each channel the mean and the deviation over the tokens that it has in ``style``; in float32."""
    (mean, deviation), (style_mean, style_deviation) = _moments(x), _moments(style)
    return ((x.float() - mean) / deviation * style_deviation + style_mean).to(x.dtype)


def shared_attention(
    own: Projected, style: Projected, heads: int, sharing: Sharing
) -> Float[Tensor, "b n d"]:
    """Let every row of ``own`` attend to itself and to ``style``, which is one row."""
    rows, tokens, _ = own.query.shape
    query, key = own.query, own.key
    if sharing.adain:
        query, key = adain(query, style.query), adain(key, style.key)
    keys = torch.cat([key, (sharing.score_scale * style.key).expand_as(key)], dim=1)  # b 2n d
    values = torch.cat([own.value, style.value.expand_as(own.value)], dim=1)
    bias = None
    if sharing.score_shift:
        bias = query.new_zeros(2 * tokens)
        bias[tokens:] = sharing.score_shift
        bias = bias.expand(rows, 1, tokens, -1)
    return attend(query, _heads(keys, heads), _heads(values, heads), bias)


@contextmanager
def shared(
    sites: Sequence[Site], sharing: Sharing | None, rows: Rows, *, keep: bool = False
) -> Generator[None]:
    """Share at every self-attention among these sites for as long as the context lasts; None shares nothing.

    Rows with ``Role.COND`` or ``Role.UNCOND`` take the style of the nearest row with ``Role.STYLE`` before
    them, with ``keep`` also of one in an earlier call; other rows, and all where there is no such row, stay
    as the host made them. Enter it inside of ``injected``, whose LoRA it then sees. Raises ConfigError when a
    UNet call has other rows than ``rows``.
    """
    with ExitStack() as stack:
        if sharing is not None:
            stack.enter_context(compiled.suspended())
            for site in sites:
                site.require_unfused()
                if not site.cross:
                    _SharedSite(site, sharing, rows, keep).register(stack)
        yield


class _SharedSite:
    """One site's hooks. It holds the layer's activations only between ``to_q`` and ``to_out``.

    With ``keep`` it holds those of the latest style row for longer.
    """

    def __init__(self, site: Site, sharing: Sharing, rows: Rows, keep: bool) -> None:
        self.site, self.sharing, self.rows, self.keep = site, sharing, rows, keep
        self.kept: Projected | None = None
        self.taken: dict[nn.Module, Tensor] = {}

    def register(self, stack: ExitStack) -> None:
        for linear in (self.site.to_q, self.site.to_k, self.site.to_v):
            stack.callback(linear.register_forward_hook(self.take).remove)
        stack.callback(self.site.to_out.register_forward_pre_hook(self.replace).remove)

    def take(self, module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        self.taken[module] = output

    def replace(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        query, key, value = (self.taken.pop(x) for x in (self.site.to_q, self.site.to_k, self.site.to_v))
        return self._shared(inputs[0], Projected(query=query, key=key, value=value)), *inputs[1:]

    def _shared(self, out: Tensor, projected: Projected) -> Tensor:
        """The style row's own attention needs nothing: its tokens twice with one shift weigh as once."""
        self.rows.require(len(out))
        style = self.kept
        parts: list[Tensor] = []
        for run in self.rows.runs:
            if run.role is Role.STYLE:
                style = projected[run.rows][-1:]
            if style is None or not run.role.guided:
                parts.append(out[run.rows])
            else:
                parts.append(shared_attention(projected[run.rows], style, self.site.heads, self.sharing))
        self.kept = style if self.keep else None
        return torch.cat(parts)


def _moments(x: Float[Tensor, "b n d"]) -> tuple[Float[Tensor, "b 1 d"], Float[Tensor, "b 1 d"]]:
    """Mean and deviation over the tokens; the variance is the unbiased one, and 0 for a single token."""
    variance, mean = torch.var_mean(x.float(), dim=1, correction=min(1, x.shape[1] - 1), keepdim=True)
    return mean, (variance + EPS).sqrt()


def _heads(x: Float[Tensor, "b t d"], heads: int) -> Float[Tensor, "b h t c"]:
    return rearrange(x, "b t (h c) -> b h t c", h=heads)
