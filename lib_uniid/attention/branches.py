"""What is added to one site's text attention, with all that can be computed beforehand computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lib_uniid.attention.math import attend, chosen_attention, route, routed_attention, router_logits
from lib_uniid.attention.routing import RoutingRule
from lib_uniid.attention.rows import Role, Run
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

Pair = tuple[Float[Tensor, "1 h k c"], Float[Tensor, "1 h k c"]]
"""Keys and values that all rows share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterKeys:
    """The first layer of theta, and the identities' keys with its second layer folded in."""

    weight: Float[Tensor, "e d"]
    bias: Float[Tensor, " e"]
    keys: Float[Tensor, "r i e"]

    def to(self, like: Tensor) -> "RouterKeys":
        """In the precision and on the device of ``like``."""
        return RouterKeys(weight=self.weight.to(like), bias=self.bias.to(like), keys=self.keys.to(like))


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityKV:
    """One site's keys and values: of the people (``r`` is 1, or one per cond row) and of nobody.

    ``nobody`` is None in a plan without uncond rows, ``router`` where nothing is left for it to choose.
    """

    key: Float[Tensor, "r h i k c"]
    value: Float[Tensor, "r h i k c"]
    nobody: Pair | None
    router: RouterKeys | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageKV:
    """One site's keys and values of an image prompt."""

    cond: Pair
    uncond: Pair
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """How one run of cond rows was routed: what the router said, what was done, or both.

    ``logits`` is None where the router was not asked, ``done`` where each place went to the best person.
    """

    logits: Float[Tensor, "b n i"] | None = None
    done: Float[Tensor, "m p i"] | None = None

    @property
    def routing(self) -> Float[Tensor, "m p i"]:
        """The map that was used."""
        if self.done is not None:
            return self.done
        assert self.logits is not None
        return route(self.logits)


class IdentityBranch:
    """The identity attention of one site, ready for queries of one precision, device and number of tokens.

    ``gains`` is each person's strength now; being linear it is folded into the values.
    """

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
        self.nobody = kv.nobody and (kv.nobody[0].to(query), kv.nobody[1].to(query))
        self.nobody_gain = rearrange(rule.mean_at(tokens).to(query) @ gain, "p -> 1 p 1")
        if self.nobody and self.nobody_gain.shape[1] == 1:  # the same everywhere: once, not in every call
            self.nobody = self.nobody[0], self.nobody[1] * self.nobody_gain[..., None]
            self.nobody_gain = None

    def __call__(
        self, run: Run, query: Float[Tensor, "b n d"], hidden: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b n d"], Routed | None]:
        """Attend to the people (cond rows) or to nobody (uncond rows); ``hidden`` is what the router reads.

        Nobody's tokens are the same for every person, so one attention does, and the router is not asked.
        """
        if run.role is Role.COND:
            return self._people(run, query, hidden)
        if self.nobody is None:
            raise ConfigError(
                "the UNet is called with uncond rows and the plan has no uncond tokens; give them"
            )
        out = attend(query, *self.nobody)
        return out if self.nobody_gain is None else out * self.nobody_gain, None

    def _people(self, run: Run, query: Tensor, hidden: Tensor) -> tuple[Tensor, Routed | None]:
        key, value = _entries(self.key, run), _entries(self.value, run)
        if self.router is not None:
            logits = router_logits(
                hidden, self.router.weight, self.router.bias, _entries(self.router.keys, run)
            )
            routing = self.rule.complete(logits, self.fixed, self.bar)
            attention = chosen_attention if self.rule.one_hot else routed_attention
            return attention(query, key, value, routing), Routed(logits=logits, done=routing)
        if self.fixed is not None:
            return routed_attention(query, key, value, self.fixed), Routed(done=self.fixed)
        return attend(query, key[:, :, 0], value[:, :, 0]), None


class JoinedBranch:
    """The identity attention of one site for all rows of a call together, in as few operations as possible.

    A fast GPU waits for the program and not for the arithmetic at most sites: one attention over all rows
    costs half of one for each run. Uncond rows have nobody's tokens in the place of the first person's, and
    in the others' places zeros that the softmax never reaches.
    """

    def __init__(self, branch: IdentityBranch, runs: Sequence[Run], tokens: int) -> None:
        pairs = [_of_run(branch, run) for run in runs]
        self.key, self.value = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        self.router: RouterKeys | None = None
        choosing = next((run for run in runs if run.role is Role.COND), None)
        if branch.router is None or choosing is None:  # the first place alone counts
            length = branch.key.shape[3]
            self.key, self.value = self.key[:, :, :length], self.value[:, :, :length]
            return
        keys = _entries(branch.router.keys, choosing)
        self.router = RouterKeys(weight=branch.router.weight, bias=branch.router.bias, keys=keys)
        self.choosing = choosing.rows
        self.shut = _shut(branch.key)
        # The first person for the rows that have no choice; the others are written into in every call.
        with torch.inference_mode(False):  # so that it can be written into in any mode
            self.chosen = torch.zeros(len(self.key), tokens, dtype=torch.long, device=self.key.device)

    @classmethod
    def of(cls, branch: IdentityBranch, runs: Sequence[Run], tokens: int) -> "JoinedBranch | None":
        """For queries of so many tokens; None where rows have to be taken apart.

        That is so with maps that are drawn, soft or fixed, with rows of other roles, and where the rows of
        one role do not stand together.
        """
        roles = [run.role for run in runs]
        apart = not all(role.guided for role in roles) or len(set(roles)) < len(roles)
        fits = Role.UNCOND not in roles or _same_length(branch)
        return None if apart or not fits or not branch.rule.one_hot else cls(branch, runs, tokens)

    def __call__(
        self, query: Float[Tensor, "b n d"], hidden: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b n d"], Routed | None]:
        """Attend to the people and to nobody; ``hidden`` is what the router reads."""
        if self.router is None:
            return attend(query, self.key, self.value), None
        router = self.router
        logits = router_logits(hidden[self.choosing], router.weight, router.bias, router.keys)
        torch.argmax(logits.detach(), dim=-1, out=self.chosen[self.choosing])
        bias = functional.embedding(self.chosen, self.shut)[:, None]  # b 1 n (i k)
        return attend(query, self.key, self.value, bias), Routed(logits=logits)


def _of_run(branch: IdentityBranch, run: Run) -> tuple[Float[Tensor, "b h t c"], Float[Tensor, "b h t c"]]:
    """Keys and values for each row of a run, those of all people one after another."""
    rows, people = run.rows.stop - run.rows.start, branch.key.shape[2]
    if run.role is Role.COND:
        pair = (_entries(x, run).flatten(2, 3) for x in (branch.key, branch.value))
    else:
        assert branch.nobody is not None
        pair = (functional.pad(x, (0, 0, 0, (people - 1) * x.shape[2])) for x in branch.nobody)
    key, value = (x.expand(rows, -1, -1, -1) for x in pair)
    return key, value


def _same_length(branch: IdentityBranch) -> bool:
    """Whether nobody's tokens take the place of a person's, with one strength everywhere."""
    nobody = branch.nobody
    return nobody is not None and branch.nobody_gain is None and nobody[0].shape[2] == branch.key.shape[3]


def _shut(key: Float[Tensor, "r h i k c"]) -> Float[Tensor, "i t"]:
    """What is added to the scores where a person was chosen: -inf at the tokens of all others."""
    people, length = key.shape[2:4]
    own = torch.eye(people, dtype=torch.bool).repeat_interleave(length, dim=1)
    return torch.zeros(own.shape).masked_fill(~own, -torch.inf).to(key)


class ImageBranch:
    """IP-Adapter's attention of one site, ready for queries of one precision, device and number of tokens."""

    def __init__(self, kv: ImageKV, mask: Float[Tensor, " n"] | None, query: Tensor) -> None:
        self.cond = kv.cond[0].to(query), kv.scale * kv.cond[1].to(query)
        self.uncond = kv.uncond[0].to(query), kv.scale * kv.uncond[1].to(query)
        self.mask = None if mask is None else rearrange(mask, "n -> 1 n 1").to(query)

    def __call__(self, run: Run, query: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        out = attend(query, *(self.cond if run.role is Role.COND else self.uncond))
        return out if self.mask is None else out * self.mask


def _entries(shared_or_per_row: Tensor, run: Run) -> Tensor:
    return shared_or_per_row if shared_or_per_row.shape[0] == 1 else shared_or_per_row[run.entries]
