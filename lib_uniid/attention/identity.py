"""The identity branch: attention to each person's tokens where the routing gives a place to that person.

All that can be computed beforehand is: keys and values are projected once per generation, and each person's
strength is folded into the values.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lib_uniid.attention.branch import Call, Prepared
from lib_uniid.attention.identities import Gains
from lib_uniid.attention.math import attend, chosen_attention, routed_attention
from lib_uniid.attention.record import Routed
from lib_uniid.attention.routing import RoutingRule
from lib_uniid.attention.rows import Role, Rows, RowSpan
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

Pair = tuple[Float[Tensor, "1 h k c"], Float[Tensor, "1 h k c"]]
"""Keys and values that all rows share."""


@runtime_checkable
class Router(Protocol):
    """Scores every identity at every image token of one site."""

    def to(self, like: Tensor) -> "Router":
        """In the precision and on the device of ``like``."""
        ...

    def of(self, run: RowSpan) -> "Router":
        """For the rows of a run of cond rows."""
        ...

    def __call__(self, hidden: Float[Tensor, "b n d"]) -> Float[Tensor, "b n i"]:
        """The scores, neither scaled nor normalised."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityKV:
    """One site's keys and values: of the people (``r`` is 1, or one per cond row) and of the null identity.

    ``null`` is None in a plan without uncond rows, ``router`` in a plan without a choice for it.
    """

    key: Float[Tensor, "r h i k c"]
    value: Float[Tensor, "r h i k c"]
    null: Pair | None
    router: Router | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityBranch:
    """A :class:`lib_uniid.attention.branch.Branch`; its state is each person's strength."""

    kv: IdentityKV
    rule: RoutingRule
    gains: Gains

    def state(self, progress: float) -> Hashable:
        gains = self.gains.at(progress)
        return gains if any(gains) else None

    def prepare(self, state: Hashable, query: Float[Tensor, "b n d"], rows: Rows) -> Prepared:
        by_run = RunByRun(self.kv, self.rule, cast("tuple[float, ...]", state), query)
        return AllAtOnce.of(by_run, rows.runs, query.shape[1]) or by_run


class RunByRun:
    """One attention for each run of rows; ``gains`` is each person's strength."""

    def __init__(self, kv: IdentityKV, rule: RoutingRule, gains: tuple[float, ...], query: Tensor) -> None:
        tokens = query.shape[1]
        gain = torch.tensor(gains).to(query)
        fixed = rule.fixed_at(tokens)
        self.rule = rule
        self.key = kv.key.to(query)
        self.value = kv.value.to(query) * rearrange(gain, "i -> i 1 1")
        self.fixed = None if fixed is None else fixed[None].to(query)
        self.bar = rule.bar(query)
        self.router = kv.router and kv.router.to(query)
        self.null = kv.null and (kv.null[0].to(query), kv.null[1].to(query))
        self.null_gain = rearrange(rule.mean_at(tokens).to(query) @ gain, "p -> 1 p 1")
        if self.null and self.null_gain.shape[1] == 1:  # the same everywhere: once, not in every call
            self.null = self.null[0], self.null[1] * self.null_gain[..., None]
            self.null_gain = None

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        parts: list[Tensor] = []
        recorded: list[Routed] = []
        for run in call.rows.runs:
            query = call.query[run.rows]
            if run.role is Role.COND:
                part, routed = self._people(run, query, call.hidden[run.rows])
                recorded += [] if routed is None else [routed]
            elif run.role is Role.UNCOND:
                part = self._null(query)
            else:
                part = torch.zeros_like(query)
            parts.append(part)
        if call.record is not None and recorded:
            call.record.note(call.site, recorded)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _null(self, query: Tensor) -> Tensor:
        """The null identity is the same for every person: one attention, without the router."""
        if self.null is None:
            raise ConfigError(
                "the UNet is called with uncond rows and the plan has no uncond tokens; give them"
            )
        out = attend(query, *self.null)
        return out if self.null_gain is None else out * self.null_gain

    def _people(self, run: RowSpan, query: Tensor, hidden: Tensor) -> tuple[Tensor, Routed | None]:
        key, value = entries(self.key, run), entries(self.value, run)
        if self.router is not None:
            logits = self.router.of(run)(hidden)
            routing = self.rule.complete(logits, self.fixed, self.bar)
            attention = chosen_attention if self.rule.one_hot else routed_attention
            return attention(query, key, value, routing), Routed(logits=logits, done=routing)
        if self.fixed is not None:
            return routed_attention(query, key, value, self.fixed), Routed(done=self.fixed)
        return attend(query, key[:, :, 0], value[:, :, 0]), None


class AllAtOnce:
    """One attention for all rows of a call, in as few operations as possible.

    A fast GPU waits for the program and not for the arithmetic at most sites, so the number of operations is
    what counts. Uncond rows have the null identity in the place of the first person, and in
    the others' places zeros that the softmax never reaches.
    """

    def __init__(self, by_run: RunByRun, runs: Sequence[RowSpan], tokens: int) -> None:
        pairs = [_of_run(by_run, run) for run in runs]
        self.key, self.value = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        self.router: Router | None = None
        choosing = next((run for run in runs if run.role is Role.COND), None)
        if by_run.router is None or choosing is None:  # the first place alone counts
            length = by_run.key.shape[3]
            self.key, self.value = self.key[:, :, :length], self.value[:, :, :length]
            return
        self.router, self.choosing = by_run.router.of(choosing), choosing.rows
        self.shut = _shut(by_run.key)
        # The first person for the rows that have no choice; the others are written into in every call.
        with torch.inference_mode(False):  # so that it can be written into in any mode
            self.chosen = torch.zeros(len(self.key), tokens, dtype=torch.long, device=self.key.device)

    @classmethod
    def of(cls, by_run: RunByRun, runs: Sequence[RowSpan], tokens: int) -> "AllAtOnce | None":
        """For queries of this number of tokens; None if the rows need separate attentions.

        That is the case with drawn, soft or fixed maps, with rows of other roles, and if the rows of one role
        are not adjacent.
        """
        roles = [run.role for run in runs]
        apart = not all(role.guided for role in roles) or len(set(roles)) < len(roles)
        fits = Role.UNCOND not in roles or _same_length(by_run)
        return None if apart or not fits or not by_run.rule.one_hot else cls(by_run, runs, tokens)

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        if self.router is None:
            return attend(call.query, self.key, self.value)
        logits = self.router(call.hidden[self.choosing])
        torch.argmax(logits.detach(), dim=-1, out=self.chosen[self.choosing])
        if call.record is not None:
            call.record.note(call.site, [Routed(logits=logits)])
        bias = functional.embedding(self.chosen, self.shut)[:, None]  # b 1 n (i k)
        return attend(call.query, self.key, self.value, bias)


def entries(shared_or_per_row: Tensor, run: RowSpan) -> Tensor:
    """Those of a run, of a tensor with one entry for all rows or one per row of that role."""
    return shared_or_per_row if shared_or_per_row.shape[0] == 1 else shared_or_per_row[run.entries]


def _of_run(by_run: RunByRun, run: RowSpan) -> tuple[Float[Tensor, "b h t c"], Float[Tensor, "b h t c"]]:
    """Keys and values for each row of a run, those of all people one after another."""
    rows, people = run.rows.stop - run.rows.start, by_run.key.shape[2]
    if run.role is Role.COND:
        pair = (entries(x, run).flatten(2, 3) for x in (by_run.key, by_run.value))
    else:
        assert by_run.null is not None
        pair = (functional.pad(x, (0, 0, 0, (people - 1) * x.shape[2])) for x in by_run.null)
    key, value = (x.expand(rows, -1, -1, -1) for x in pair)
    return key, value


def _same_length(by_run: RunByRun) -> bool:
    """Whether the null identity fits into the place of a person, with one strength everywhere."""
    null = by_run.null
    return null is not None and by_run.null_gain is None and null[0].shape[2] == by_run.key.shape[3]


def _shut(key: Float[Tensor, "r h i k c"]) -> Float[Tensor, "i t"]:
    """What is added to the scores where a person was chosen: -inf at the tokens of all others."""
    people, length = key.shape[2:4]
    own = torch.eye(people, dtype=torch.bool).repeat_interleave(length, dim=1)
    return torch.zeros(own.shape).masked_fill(~own, -torch.inf).to(key)
