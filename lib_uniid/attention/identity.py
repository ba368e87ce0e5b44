"""The identity branch: attention to each person's tokens where the routing gives a place to that person.

All that can be computed beforehand is: keys and values are projected once per generation, and each person's
strength is folded into the values, or with normalized rescaling applied after it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lib_uniid.attention.branch import Call, Prepared
from lib_uniid.attention.deciding import Decided, SharedRouting
from lib_uniid.attention.identities import Gains
from lib_uniid.attention.math import attend, chosen_attention, routed_attention
from lib_uniid.attention.record import Routed
from lib_uniid.attention.rescaling import ratio, times
from lib_uniid.attention.routing import RoutingRule
from lib_uniid.attention.rows import Role, Rows, RowSpan, entries
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

Pair = tuple[Float[Tensor, "1 h k c"], Float[Tensor, "1 h k c"]]
"""Keys and values that all rows share."""

Strengths = tuple[float, ...]
"""One number per person."""

ALIGNED = 16
"""Fused attention copies a bias in every call unless its length is a multiple of this."""

MOST_HELD = 4
"""Kinds of calls whose keys and values a site keeps on the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityKV:
    """One site's keys and values: of the people (``r`` is 1, or one per cond row) and of the null identity.

    ``null`` is None in a plan without uncond rows.
    """

    key: Float[Tensor, "r h i k c"]
    value: Float[Tensor, "r h i k c"]
    null: Pair | None

    @property
    def people(self) -> int:
        """How many there are."""
        return self.key.shape[2]

    @property
    def length(self) -> int:
        """Tokens of each person."""
        return self.key.shape[3]

    def strong(self, gains: Strengths, null_gain: float, like: Tensor) -> "IdentityKV":
        """In the precision and on the device of ``like``, with these strengths in the values."""
        key, value = self.key.to(like), self.value.to(like)
        if any(gain != 1.0 for gain in gains):
            value = value * rearrange(torch.tensor(gains).to(like), "i -> i 1 1")
        null = self.null and (self.null[0].to(like), self.null[1].to(like))
        if null and null_gain != 1.0:
            null = null[0], null[1] * null_gain
        return IdentityKV(key=key, value=value, null=null)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityBranch:
    """A :class:`lib_uniid.attention.branch.Branch`; its state is each person's strength.

    With ``rescaled`` the sum over a row's identities gets the norm of the text attention, and each person's
    strength is applied after that, place by place.
    """

    kv: IdentityKV
    routing: SharedRouting
    gains: Gains
    rescaled: bool = False
    _held: "dict[Hashable, _Held]" = field(
        default_factory=dict[Hashable, "_Held"], init=False, repr=False, compare=False
    )

    @property
    def held(self) -> int:
        """Bytes of keys and values that are held on a device for the calls so far."""
        return sum(one.size for one in self._held.values())

    def state(self, progress: float) -> Hashable:
        gains = self.gains.at(progress)
        return gains if any(gains) else None

    def prepare(self, state: Hashable, query: Float[Tensor, "b n d"], rows: Rows) -> Prepared:
        gains = cast("Strengths", state)
        folded = (1.0,) * len(gains) if self.rescaled else gains
        equal = len(set(gains)) == 1
        after = None if equal or not self.rescaled else gains
        held, tokens = self._holding(query, rows, folded), query.shape[1]
        routing = self.routing
        inner = AllAtOnce.of(held, routing, rows.runs, tokens, after) or RunByRun(
            held, routing, tokens, after
        )
        if not self.rescaled:
            return inner
        return _Rescaled(inner, gains[0] if equal else 1.0, routing.rule, query, rows)

    def _holding(self, query: Tensor, rows: Rows, gains: Strengths) -> "_Held":
        """Shared by calls that differ in the number of image tokens or in strengths that are not folded."""
        kind = query.dtype, query.device, rows.roles
        if kind not in self._held and len(self._held) == MOST_HELD:
            self._held.clear()
        if kind not in self._held or self._held[kind].gains != gains:
            self._held[kind] = _Held(self.kv, self.routing.rule, gains, query)
        return self._held[kind]


class _Held:
    """Keys and values on the device with strengths in the values, in the form that is needed first."""

    def __init__(self, kv: IdentityKV, rule: RoutingRule, gains: Strengths, like: Tensor) -> None:
        self.kv, self.rule, self.gains, self.like = kv, rule, gains, like.new_empty(0)
        self._apart: IdentityKV | None = None
        self._stack: tuple[Tensor, Tensor] | None = None

    @property
    def size(self) -> int:
        """Bytes of what is held."""
        apart = self._apart and (self._apart.key, self._apart.value, *(self._apart.null or ()))
        tensors = (*(apart or ()), *(self._stack or ()))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _strong(self) -> IdentityKV:
        return self.kv.strong(
            self.gains, 1.0 if self.rule.drawn else self.rule.mean_of(self.gains), self.like
        )

    def apart(self) -> IdentityKV:
        """For an attention per run. The null identity's strength is not in it if it differs by place."""
        self._apart = self._apart or self._strong()
        return self._apart

    def stack(self, runs: Sequence[RowSpan]) -> tuple[Tensor, Tensor]:
        """For one attention without a choice: one entry per run if runs are of one length, else per row."""
        if self._stack is None:
            kv, shared = self._strong(), _shared(self.kv, runs)
            pairs = [_alone(kv, run, 1 if shared else run.rows.stop - run.rows.start) for run in runs]
            key, value = (torch.cat(parts) for parts in zip(*pairs, strict=True))
            self._stack = key, value
        return self._stack

    def line(self, runs: Sequence[RowSpan]) -> tuple[Tensor, Tensor]:
        """For one attention with a choice: the tokens of all people and of the null identity in one line.

        It has one entry for all rows, or one per row, and is filled up to a multiple of ``ALIGNED`` tokens.
        """
        if self._stack is None:
            kv = self._strong()
            null_key, null_value = kv.null or (None, None)
            self._stack = _line(kv.key, null_key, runs), _line(kv.value, null_value, runs)
        return self._stack


class RunByRun:
    """One attention for each run of rows; ``after`` is what to multiply each person's part by."""

    def __init__(self, held: _Held, routing: SharedRouting, tokens: int, after: Strengths | None) -> None:
        kv, rule, like = held.apart(), held.rule, held.like
        fixed = rule.fixed_at(tokens)
        self.rule, self.key, self.value, self.null = rule, kv.key, kv.value, kv.null
        self.routing = routing if rule.learned else None
        self.fixed = None if fixed is None else fixed[None].to(like)
        self.bar = rule.bar(like)
        self.null_gain = _null_gain(rule, tokens, held.gains, like) if rule.drawn else None
        self.after = None if after is None else torch.tensor(after).to(like)
        self.null_after = None if after is None else _null_gain(rule, tokens, after, like)

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        return self.both(call)[0]

    def both(self, call: Call) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
        """The sum, without ``after`` and with it."""
        parts: list[tuple[Tensor, Tensor]] = []
        recorded: list[Routed] = []
        decided = self._decided(call)
        for run in call.rows.runs:
            query = call.query[run.rows]
            if run.role is Role.COND:
                plain, strong, routed = self._people(run, query, decided)
                recorded += [] if routed is None else [routed]
            elif run.role is Role.UNCOND:
                plain, strong = self._null(query)
            else:
                plain = strong = torch.zeros_like(query)
            parts.append((plain, strong))
        if call.record is not None and recorded:
            call.record.note(call.site, recorded)
        if len(parts) == 1:
            return parts[0]
        plain = torch.cat([part for part, _ in parts])
        return plain, plain if self.after is None else torch.cat([part for _, part in parts])

    def _null(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """The null identity is the same for every person: one attention, without the router."""
        if self.null is None:
            raise ConfigError(
                "the UNet is called with uncond rows and the plan has no uncond tokens; give them"
            )
        out = attend(query, *self.null)
        plain = out if self.null_gain is None else out * self.null_gain
        return plain, plain if self.null_after is None else out * self.null_after

    def _decided(self, call: Call) -> Decided | None:
        """With the whole map; None without cond rows and where nothing is left to choose."""
        if self.routing is None or Role.COND not in call.rows.roles:
            return None
        decided = self.routing.at(call)
        if decided.routing is None:
            decided.routing = self.rule.complete(decided.scores, self.fixed, self.bar).to(call.query)
        return decided

    def _people(
        self, run: RowSpan, query: Tensor, decided: Decided | None
    ) -> tuple[Tensor, Tensor, Routed | None]:
        key, value = entries(self.key, run), entries(self.value, run)
        if decided is not None:
            assert decided.routing is not None
            routing = decided.routing[run.entries]
            routed = Routed(logits=decided.scores[run.entries], done=routing)
        elif self.fixed is not None:
            routing, routed = self.fixed, Routed(done=self.fixed)
        else:
            out = attend(query, key[:, :, 0], value[:, :, 0])
            return out, out, None
        attention = chosen_attention if self.rule.one_hot else routed_attention
        out = attention(query, key, value, routing)
        if self.after is None:
            return out, out, routed
        if self.rule.one_hot:
            return out, out * (routing @ self.after)[..., None], routed
        return out, routed_attention(query, key, value, routing * self.after), routed


class AllAtOnce:
    """One attention for all rows of a call, in as few operations as possible.

    A fast GPU waits for the program and not for the arithmetic at most sites, so the number of operations is
    what counts. With a choice all rows have the tokens of all people and of the null identity, and a bias
    that opens those of one. Rows that share keys and values are read as one longer row.
    """

    def __init__(
        self,
        held: _Held,
        routing: SharedRouting,
        runs: Sequence[RowSpan],
        tokens: int,
        after: Strengths | None,
    ) -> None:
        kv, like = held.kv, held.like
        choosing = next((run for run in runs if run.role is Role.COND), None)
        chooses = bool(held.rule.learned) and choosing is not None
        self.key, self.value = held.line(runs) if chooses else held.stack(runs)
        self.routing = routing if chooses else None
        rest = 1.0 if after is None else held.rule.mean_of(after)
        if choosing is None or not chooses:  # the first place alone counts
            self.after = None if after is None else torch.tensor([[rest]]).to(like)
            return
        self.choosing = choosing.rows
        self.after = None if after is None else torch.tensor([*after, rest])[:, None].to(like)
        self.shut = _shut(kv.people, kv.length, self.key.shape[2]).to(like)
        self.places, self.like = (runs[-1].rows.stop, tokens), like
        self._written: Tensor | None = None

    @classmethod
    def of(
        cls,
        held: _Held,
        routing: SharedRouting,
        runs: Sequence[RowSpan],
        tokens: int,
        after: Strengths | None,
    ) -> "AllAtOnce | None":
        """For queries of this number of tokens; None if the rows need separate attentions.

        That is the case with drawn, soft or fixed maps, with rows of other roles, and if the rows of one role
        are not adjacent.
        """
        roles, kv = [run.role for run in runs], held.kv
        apart = not all(role.guided for role in roles) or len(set(roles)) < len(roles)
        fits = Role.UNCOND not in roles or (kv.null is not None and kv.null[0].shape[2] == kv.length)
        if apart or not fits or not held.rule.one_hot:
            return None
        return cls(held, routing, runs, tokens, after)

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        return self.both(call)[0]

    def both(self, call: Call) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
        """The sum, without ``after`` and with it."""
        decided = None if self.routing is None else self._chosen(self.routing.at(call))
        query = call.query.reshape(len(self.key), -1, call.query.shape[2])
        out = attend(query, self.key, self.value, decided and decided.bias).view(call.query.shape)
        if decided is not None and call.record is not None:
            call.record.note(call.site, [Routed(logits=decided.scores)])
        if self.after is None:
            return out, out
        if decided is None or decided.chosen is None:
            return out, out * self.after
        return out, out * functional.embedding(decided.chosen, self.after)

    def _chosen(self, decided: Decided) -> Decided:
        """With each place's best person, and what is added to the logits for that."""
        if decided.bias is None:
            if self._written is None:
                # The last number is for the rows that have no choice; the others are written in every call.
                people, device = len(self.shut) - 1, self.like.device
                with torch.inference_mode(False):  # so that it can be written into in any mode
                    self._written = torch.full(self.places, people, dtype=torch.long, device=device)
            torch.argmax(decided.scores.detach(), dim=-1, out=self._written[self.choosing])
            decided.chosen = self._written
            by_entry = self._written.view(len(self.key), -1)
            decided.bias = functional.embedding(by_entry, self.shut)[:, None]  # b 1 n (i k)
        return decided


class _Rescaled:
    """A branch whose sum gets the norm of the text attention, in each row over the places that it covers.

    Where everything is covered this is the official rule. Rows without a branch keep none.
    """

    def __init__(
        self, inner: AllAtOnce | RunByRun, gain: float, rule: RoutingRule, query: Tensor, rows: Rows
    ) -> None:
        self.inner, self.gain = inner, gain
        covered = rule.covered_at(query.shape[1])
        self.covered = None if covered is None else covered[None].to(query)
        rest = [0.0 if role.guided else 1.0 for role in rows.roles]
        self.unguided = torch.tensor(rest, device=query.device)[:, None, None] if any(rest) else None

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        plain, strong = self.inner.both(call)
        text = call.text if self.covered is None else call.text * self.covered
        factor = ratio(text, plain, self.unguided)
        return times(strong, factor if self.gain == 1.0 else factor * self.gain)


def _shared(kv: IdentityKV, runs: Sequence[RowSpan]) -> bool:
    """Whether the rows of each run can be read as one: they have one length and share keys and values."""
    return kv.key.shape[0] == 1 and len({run.rows.stop - run.rows.start for run in runs}) == 1


def _alone(
    kv: IdentityKV, run: RowSpan, rows: int
) -> tuple[Float[Tensor, "b h k c"], Float[Tensor, "b h k c"]]:
    """Keys and values of a run, for this number of rows: the first person's or the null identity's."""
    if run.role is Role.COND:
        key, value = (entries(x, run)[:, :, 0] for x in (kv.key, kv.value))
    else:
        assert kv.null is not None
        key, value = kv.null
    return key.expand(rows, -1, -1, -1), value.expand(rows, -1, -1, -1)


def _line(
    people: Float[Tensor, "r h i k c"], null: Float[Tensor, "1 h k c"] | None, runs: Sequence[RowSpan]
) -> Float[Tensor, "e h t c"]:
    """One entry; where each cond row has people of its own, one per row."""
    line = people.flatten(2, 3)
    if null is not None:
        line = torch.cat([line, null.expand(len(line), -1, -1, -1)], dim=2)
    if len(line) > 1:
        # Uncond rows read the null identity alone, so any entry will do for them.
        numbers = (
            range(run.entries.start, run.entries.stop)
            if run.role is Role.COND
            else [0] * (run.rows.stop - run.rows.start)
            for run in runs
        )
        line = line[[number for those in numbers for number in those]]
    return functional.pad(line, (0, 0, 0, -line.shape[2] % ALIGNED))


def _null_gain(rule: RoutingRule, tokens: int, gains: Strengths, like: Tensor) -> Float[Tensor, "1 p 1"]:
    """The strength of the null identity at each place: the mean of the people's under the map."""
    return rearrange(rule.mean_at(tokens).to(like) @ torch.tensor(gains).to(like), "p -> 1 p 1")


def _shut(people: int, length: int, filled: int) -> Float[Tensor, "i1 t"]:
    """What is added to the scores where a person was chosen: -inf at all other tokens of the line.

    The last row is for the null identity, which follows the people.
    """
    own = torch.eye(people + 1, dtype=torch.bool).repeat_interleave(length, dim=1)[:, :filled]
    own = functional.pad(own, (0, filled - own.shape[1]))
    return torch.zeros(own.shape).masked_fill(~own, -torch.inf)
