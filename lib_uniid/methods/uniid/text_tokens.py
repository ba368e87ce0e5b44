"""UniID's text tokens among those of the prompt: their length, their place, and when they are how strong."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from lib_uniid.attention.rescaling import norm
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

CHUNK = 77
"""Tokens that a CLIP text encoder reads at once, with those of begin and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """How strong a branch is before and from a share of the steps on (the official ``start_merge_step``).

    The defaults of ``inference.sh`` are 5 of 30 steps; 0.5 and 1.8 for the text branch, 0.8 and 1.2 for the
    adapter branch.
    """

    before: float
    after: float
    start: float = 5 / 30

    def __post_init__(self) -> None:
        if not (0.0 <= self.before <= 4.0 and 0.0 <= self.after <= 4.0):  # also refuses NaN
            raise ConfigError(
                "the scales before and after the merge must lie in [0, 4], "
                f"got {self.before} and {self.after}"
            )
        if not 0.0 <= self.start <= 1.0:
            raise ConfigError(f"the start of the merge must lie in [0, 1], got {self.start}")

    def at(self, progress: float) -> float:
        """The scale after this share of the steps."""
        return self.before if progress < self.start else self.after


def inserted(
    text: Float[Tensor, "b t d"], tokens: Float[Tensor, "k d"], scale: float = 1.0
) -> Float[Tensor, "b t d"]:
    """The text with the tokens after its first one; the length stays, so the first chunk's last ``k`` go.

    With more than 77 tokens the other chunks stay as they are. The tokens are multiplied by ``scale``.
    """
    count = len(tokens)
    scaled = (scale * tokens).to(text).expand(len(text), -1, -1)
    return torch.cat([text[:, :1], scaled, text[:, 1 : CHUNK - count], text[:, CHUNK:]], dim=1)


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
