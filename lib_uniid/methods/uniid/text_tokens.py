"""UniID's text tokens among those of the prompt: their length, their place, and when they are how strong."""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import cast

import torch
from torch import Tensor

from lib_uniid.attention.context import CHUNK, PreparedText
from lib_uniid.attention.identities import Gains
from lib_uniid.attention.identity import entries
from lib_uniid.attention.rescaling import norm
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.errors import CheckpointMismatchError, ConfigError
from lib_uniid.typing import Float

MARK = 1024.0
"""Size of the values of the token that sd-webui-controlnet puts before a text in AUTOMATIC1111's WebUI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertedTokens:
    """A :class:`lib_uniid.attention.context.TextChange`: each person's tokens in the first chunk.

    They follow the first token, in the order of the people, and the length stays: the chunk's last tokens
    make room. Tokens of people who are absent, or whose strength is 0, are left out. A merge scale of 0 makes
    them zeros, as in the official code. A drawn mask does not limit them: the text has no places.
    """

    gains: Gains

    @property
    def tokens(self) -> int:
        strong = [one for one in self.gains.people if one.weight * self.gains.scale > 0.0]
        return sum(one.tokens.shape[-2] for one in strong)

    def state(self, progress: float) -> Hashable:
        people, scale = self.gains.people, self.gains.scale
        there = tuple(one.present(progress) and one.weight * scale > 0.0 for one in people)
        return (there, self.gains.at(progress)) if any(there) else None

    def prepare(self, state: Hashable, text: Float[Tensor, "b t d"], rows: Rows) -> PreparedText:
        there, gains = cast("tuple[tuple[bool, ...], tuple[float, ...]]", state)
        parts = [
            (gain * one.tokens).to(text)
            for one, present, gain in zip(self.gains.people, there, gains, strict=True)
            if present
        ]
        return _Insertion(torch.cat(parts, dim=-2), text)


class _Insertion:
    """Tokens for texts of one length: ``k d`` for all cond rows, or ``b k d`` with one entry per cond row."""

    def __init__(self, tokens: Float[Tensor, "*r k w"], text: Float[Tensor, "b t d"]) -> None:
        self.tokens = tokens if tokens.ndim == 3 else tokens[None]
        self.first = 1 + _marks(text)
        self.after = self.first + self.tokens.shape[1]
        self.end = min(self.first - 1 + CHUNK, text.shape[1])
        if self.after > self.end:
            raise ConfigError(
                f"a text of {text.shape[1]} tokens has no room for {self.tokens.shape[1]} tokens of "
                "identities; use fewer people, or the adapter branch alone"
            )
        if text.shape[2] != self.tokens.shape[2]:
            raise CheckpointMismatchError(
                f"the text tokens of identities have {self.tokens.shape[2]} channels and the UNet reads "
                f"text of {text.shape[2]}; load the checkpoint family that the weights were made for"
            )

    def __call__(self, text: Float[Tensor, "b t d"], rows: Rows) -> Float[Tensor, "b t d"]:
        changed = text.clone()
        for run in rows.runs:
            if run.role is Role.COND:
                changed[run.rows, self.first : self.after] = entries(self.tokens, run)
                changed[run.rows, self.after : self.end] = text[
                    run.rows, self.first : self.end - self.tokens.shape[1]
                ]
        return changed


def _marks(text: Float[Tensor, "b t d"]) -> int:
    """How many tokens before the first chunk are not of the text. Read once for each kind of call."""
    if text.shape[1] % CHUNK != 1:
        return 0
    return int((text[:, 0].float().abs() - MARK).abs().mean() < 1.0)


@cache
def name_columns() -> tuple[Mapping[int, int], ...]:
    """How often each token number stands first, second and third in names of well-known people."""
    written = files("lib_uniid.methods.uniid").joinpath("names.json").read_text(encoding="utf-8")
    return tuple(
        {int(token): count for token, count in column.items()} for column in json.loads(written)["columns"]
    )


def mean_name(table: Float[Tensor, "v d"]) -> Float[Tensor, "k d"]:
    """The mean token embedding at each place of a name, from a text encoder's table."""
    return torch.stack([_weighted_mean(table, column) for column in name_columns()])


def name_norms(states: Float[Tensor, "k d"]) -> Float[Tensor, "k 1"]:
    """The norm at each place, of the penultimate states that a text encoder makes of ``mean_name``.

    The encoder reads the token of the begin, the means, and the token of the end.
    """
    return norm(states, (-1,))


def rescaled(tokens: Float[Tensor, "*b k d"], norms: Float[Tensor, "k 1"]) -> Float[Tensor, "*b k d"]:
    """The tokens of one text encoder, each with the norm that a name has at its place."""
    return tokens / norm(tokens, (-1,)) * norms


def _weighted_mean(table: Float[Tensor, "v d"], column: Mapping[int, int]) -> Float[Tensor, " d"]:
    counts: Sequence[int] = list(column.values())
    weights = torch.tensor(counts, dtype=torch.float32, device=table.device)
    rows = table[torch.tensor(list(column), device=table.device)].float()
    return (weights @ rows) / weights.sum()
