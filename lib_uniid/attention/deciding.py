"""Decides which person each place belongs to: once per transformer and call, from what was seen so far.

A router scores the people at the first cross-attention layer of a transformer, the leader; the other layers
of the transformer follow its map. Scores may be smoothed, balanced among the people, drawn into columns, and
kept from layer to layer and from step to step, so that a decision once made is held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from lib_uniid.attention.branch import Call
from lib_uniid.attention.math import grid_of
from lib_uniid.attention.routing import RoutingRule
from lib_uniid.attention.rows import Role, Rows, RowSpan
from lib_uniid.attention.scores import (
    Grid,
    balanced,
    contrast,
    in_columns,
    on_grid,
    presence,
    resized,
    smoothed,
)
from lib_uniid.attention.sites import Site
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

MOST_KEPT = 1024
"""Places of the grid on which scores are kept; the finest of the picture's grids that has no more."""


@runtime_checkable
class Router(Protocol):
    """Scores every person at every image token of one site."""

    def to(self, like: Tensor) -> "Router":
        """In the precision and on the device of ``like``."""
        ...

    def of(self, run: RowSpan) -> "Router":
        """For the rows of a run of cond rows."""
        ...

    def __call__(
        self, query: Float[Tensor, "b n d"], hidden: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n i"]:
        """The scores, neither scaled nor normalised; ``query`` is made of ``hidden``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """What is done with a router's scores before each place is given to the best person.

    ``smooth`` is the share of the picture's shorter side over which they are averaged. ``balance``: "mean"
    gives each person a mean of 0 over the places, "share" an equal part of the picture. ``keep`` is how much
    of the earlier scores is kept at each leader. ``order`` is the strength of the columns, in deviations of
    the scores per column, the same in all steps.
    """

    smooth: float = 0.0
    balance: Literal["none", "mean", "share"] = "none"
    keep: float = 0.0
    order: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.smooth <= 1.0 and 0.0 <= self.keep < 1.0):  # also refuses NaN
            raise ConfigError(
                f"smooth must lie in [0, 1] and keep in [0, 1), got {self.smooth} and {self.keep}"
            )


AS_SCORED = Deciding()
"""The router's scores as they are, as published."""

UNTRAINED = Deciding(smooth=0.15, balance="share", keep=0.9, order=1.5)
"""For a router without training, which without columns gives two faces to one person (decision 0012)."""

TRAINED = UNTRAINED
"""For a router that was trained, where its scores alone are not enough (decision 0012)."""

ORDER = 4.0
"""Strength of the columns where people are placed in an order."""

WITH_WORDS = Deciding(order=ORDER)
"""For scores that are otherwise taken as they are, where people have words of their own.

Words colour large parts in the first steps, when a router that learnt no order still changes its mind.
"""


def deciding(order: str, free: Deciding) -> Deciding:
    """How to decide in an order of :data:`lib_uniid.fields.shared.Order`; ``free`` is used without one."""
    return free if order == "free" else replace(free, order=ORDER)


@dataclass(slots=True, eq=False)
class Decided:
    """The people's scores at all places, in all cond rows of a call, and what sites have made of them.

    ``evidence`` is what the decision is made of: the scores of those among whom the router chooses, and at
    the end what speaks for any of them rather than for the background; only where it is asked for.
    ``routing`` is the whole map, ``bias`` and ``chosen`` are what one attention for all rows needs, and
    ``grown`` is where each person's own words count.
    """

    scores: Float[Tensor, "b n i"]
    evidence: Float[Tensor, "b n i1"] | None = None
    routing: Float[Tensor, "b n i"] | None = None
    bias: Tensor | None = None
    chosen: Tensor | None = None
    grown: Tensor | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class SharedRouting:
    """The routing of one generation: the rule, the routers of the leaders, and what was decided so far.

    ``leaders`` has the leader of each cross-attention layer, by their indices. ``latent_size`` is
    (rows, columns); None only where scores are taken as they are. ``routers`` stays empty where the rule
    leaves nothing to choose.
    """

    rule: RoutingRule
    leaders: Mapping[int, int]
    deciding: Deciding = AS_SCORED
    latent_size: Grid | None = None
    routers: dict[int, Router] = field(default_factory=dict[int, Router])
    latest: dict[int, Decided] = field(default_factory=dict[int, Decided], init=False)
    _seen: bool = field(default=False, init=False)
    _kept: "_Kept" = field(init=False)
    _ready: dict[object, Router] = field(default_factory=dict[object, Router], init=False)
    _held: dict[object, Tensor] = field(default_factory=dict[object, Tensor], init=False)

    def __post_init__(self) -> None:
        if self.deciding != AS_SCORED:
            self._require_size()
        self._kept = _Kept(self.deciding.keep)

    def leads(self, site: int) -> bool:
        """Whether this site needs a router."""
        return bool(self.rule.learned) and self.leaders[site] == site

    def see(self) -> None:
        """From now on decisions come with their evidence, and people stay where they are put."""
        self._require_size()
        self._seen = True
        if self.deciding == AS_SCORED:
            self.deciding = WITH_WORDS
            self._kept = _Kept(self.deciding.keep)

    def reset(self) -> None:
        """Forget what was decided: a new pass begins, or the plan is ejected."""
        self.latest.clear()
        self._ready.clear()
        self._held.clear()
        self._kept.reset()

    def at(self, call: Call) -> Decided:
        """What is decided at this site; a following site takes what its leader has decided in this call."""
        leader = self.leaders[call.site]
        if leader == call.site:
            if leader not in call.left:
                call.left[leader] = self.latest[leader] = self._decide(leader, call)
            return self.latest[leader]
        decided = self.latest[leader]
        if decided.scores.shape[1] != call.query.shape[1]:
            raise ConfigError(
                f"layers of one transformer are called with {decided.scores.shape[1]} and "
                f"{call.query.shape[1]} image tokens; switch off what merges tokens at cross-attention"
            )
        return decided

    def _decide(self, leader: int, call: Call) -> Decided:
        runs = [run for run in call.rows.runs if run.role is Role.COND]
        router = self._router(leader, call.query)
        parts = [router.of(run)(call.query[run.rows], call.hidden[run.rows]) for run in runs]
        scores = parts[0] if len(parts) == 1 else torch.cat(parts)
        if self.deciding == AS_SCORED:
            return Decided(scores)
        decided, evidence = self._weighed(scores.detach(), call.rows)
        return Decided(self.among_all(decided, -torch.inf), evidence if self._seen else None)

    def among_all(self, learned: Float[Tensor, "b n j"], others: float = 0.0) -> Float[Tensor, "b n i"]:
        """Values of those among whom the router chooses, as values of all people."""
        among = self._among(learned)
        if among is None:
            return learned
        whole = learned.new_full((*learned.shape[:2], self.rule.people), others)
        return whole.index_copy(2, among, learned)

    def _weighed(
        self, scores: Float[Tensor, "b n i"], rows: Rows
    ) -> tuple[Float[Tensor, "b n j"], Float[Tensor, "b n j1"]]:
        """What is decided on, of those among whom the router chooses, and the evidence."""
        assert self.latent_size is not None
        how, grid = self.deciding, grid_of(scores.shape[1], self.latent_size)
        among = self._among(scores)
        found = on_grid(scores if among is None else scores.index_select(2, among), grid)
        x = contrast(found, by_person=how.balance != "none")
        if how.order:
            x = torch.add(x, self._columns(x.shape[1], grid, x), alpha=how.order)
        if self._seen:
            x = torch.cat([x, presence(found)], dim=1)
        x = smoothed(x, how.smooth)
        if how.keep:
            x = resized(self._kept.joined(resized(x, kept_grid(self.latent_size)), rows), grid)
        people = found.shape[1]
        decided = balanced(x[:, :people]) if how.balance == "share" else x[:, :people]
        return decided.flatten(2).transpose(1, 2), x.flatten(2).transpose(1, 2)

    def _require_size(self) -> None:
        if self.latent_size is None:
            raise ConfigError(
                "smoothed or kept scores and own words need the latent size; give height and width"
            )

    def _router(self, leader: int, like: Tensor) -> Router:
        kind = leader, like.dtype, like.device
        if kind not in self._ready:
            self._ready[kind] = self.routers[leader].to(like)
        return self._ready[kind]

    def _among(self, like: Tensor) -> Tensor | None:
        """The people among whom the router chooses; None if these are all."""
        learned = self.rule.learned
        if len(learned) == self.rule.people:
            return None
        return self._constant(("among", like.device), lambda: torch.tensor(learned).to(like.device))

    def _columns(self, people: int, grid: Grid, like: Tensor) -> Tensor:
        return self._constant(
            ("columns", people, grid, like.device), lambda: in_columns(people, grid).to(like.device)
        )

    def _constant(self, key: object, make: "Make") -> Tensor:
        if key not in self._held:
            self._held[key] = make()
        return self._held[key]


class Make(Protocol):
    """Makes a tensor that does not change while sampling."""

    def __call__(self) -> Tensor: ...


class _Kept:
    """The scores so far: a mean in which each leader's count ``keep`` times as much as those after it.

    Each cond row of an evaluation has its own, so that a host may compute rows in several calls.
    """

    def __init__(self, keep: float) -> None:
        self.keep = keep
        self.reset()

    def reset(self) -> None:
        self._sums: Tensor | None = None
        self._weights: list[float] = []
        self._progress = 0.0

    def joined(self, x: Float[Tensor, "b i height width"], rows: Rows) -> Float[Tensor, "b i height width"]:
        if rows.progress < self._progress:
            self.reset()
        self._progress = rows.progress
        first, last = rows.before, rows.before + len(x)
        with torch.inference_mode(False):
            if self._sums is None or self._sums.shape[1:] != x.shape[1:] or self._sums.device != x.device:
                self._sums, self._weights = x.new_zeros(0, *x.shape[1:]), []
            if len(self._sums) < last:
                more = x.new_zeros(last - len(self._sums), *x.shape[1:])
                self._sums = torch.cat([self._sums, more])
                self._weights += [0.0] * len(more)
        sums = self._sums[first:last]
        sums.mul_(self.keep).add_(x)
        weight = self.keep * self._weights[first] + 1.0
        self._weights[first:last] = [weight] * len(x)
        return sums / weight


def kept_grid(latent_size: Grid) -> Grid:
    """The grid on which scores are kept, for latents of (rows, columns)."""
    height, width = latent_size
    while height * width > MOST_KEPT:
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def leaders_of(sites: Sequence[Site]) -> dict[int, int]:
    """The first cross-attention layer of each layer's transformer, by their indices."""
    first: dict[str, int] = {}
    return {site.index: first.setdefault(site.transformer, site.index) for site in sites if site.cross}
