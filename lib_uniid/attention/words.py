"""Words that belong to one person: text attention to them at that person's places.

A branch adds ``s m (A(q; words) - A(q; text))`` at each site, where m is the person's part of each place and
s is more than 1 in the first steps. The words' states come from the host's text encoders. Their keys and
values come from the site's own projections, LoRAs of the host included, once per injection.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lib_uniid.attention.branch import Call, Prepared
from lib_uniid.attention.context import TextChange
from lib_uniid.attention.deciding import Decided, SharedRouting
from lib_uniid.attention.growing import WAYS, Seen, Way
from lib_uniid.attention.math import attend, grid_of
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.routing import left_over
from lib_uniid.attention.rows import Role, Rows, RowSpan
from lib_uniid.attention.scores import on_grid, smoothed
from lib_uniid.attention.sites import Site
from lib_uniid.attention.text_encoders import Encode
from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float

WAY: Way = "voronoi"
"""How the places of faces are grown to those of words, unless another way is asked for."""

EARLY = 0.2
"""The share of the steps in which large parts get their colours."""

STRENGTH = 3.0
"""How much words count in these steps, so that no colour spreads to another person (decision 0012)."""

SMOOTH = 0.15
"""The share of the shorter side over which scores are averaged that were not smoothed for the decision."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonWords:
    """The text that a person's places read in place of the picture's.

    ``person`` is the number in the plan. ``states`` has one row for all cond rows, or one for each.
    ``changes`` put identity tokens among them.
    """

    person: int
    states: Float[Tensor, "r t d"]
    changes: Sequence[TextChange] = ()


def joined(prompt: str, words: str) -> str:
    """The text of a person's places: the picture's prompt with the person's own words at its end."""
    return ", ".join(part for part in (prompt.strip(" ,\n"), words.strip(" ,\n")) if part)


def with_own_words(
    plan: Plan, sites: Sequence[Site], words: Mapping[str, str], prompts: Sequence[str], encode: Encode | None
) -> Plan:
    """The plan with each person's words, which are by name in the order of the plan; empty for none.

    Places of a person with words read the prompt with the words at its end; there is one prompt for all cond
    rows, or one for each. Raises ConfigError if the host
    does not give text states, or if the plan does not say where people are.
    """
    spoken = {
        number: [joined(prompt, text) for prompt in prompts]
        for number, text in enumerate(words.values())
        if text.strip() or plan.contexts
    }
    if not spoken:
        return plan
    if encode is None:
        first = next(name for name, text in words.items() if text.strip() or plan.contexts)
        raise ConfigError(
            f"{first}: own words need the host's text encoders, which it does not give; leave them out",
            field="prompt",
        )
    states = rearrange(
        encode([text for texts in spoken.values() for text in texts]), "(w r) t d -> w r t d", w=len(spoken)
    )
    given = [
        PersonWords(
            person=number,
            states=states[row],
            changes=plan.contexts[number : number + 1] or plan.context,
        )
        for row, number in enumerate(spoken)
    ]
    return with_words(plan, sites, given)


def with_words(plan: Plan, sites: Sequence[Site], words: Sequence[PersonWords], way: Way = WAY) -> Plan:
    """The plan with these words; ``way`` is how places are grown.

    Raises ConfigError if the plan does not say where people are.
    """
    routing = plan.routing
    if routing is None or (routing.rule.learned and not routing.routers):
        raise ConfigError(
            "the method does not say where each person is, and their own words need that; draw a mask or "
            "choose a region for each person, or leave the own words out",
            field="prompt",
        )
    if routing.rule.learned:
        routing.see()
    own = OwnWords(words=tuple(words), routing=routing, way=way)
    cross = [site for site in sites if site.cross]
    branches = {
        site.index: (*plan.branches.get(site.index, ()), WordsBranch(site=site, own=own)) for site in cross
    }
    return replace(plan, branches=branches)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnWords:
    """The words of those people of a generation who have some."""

    words: Sequence[PersonWords]
    routing: SharedRouting
    way: Way = WAY

    def parts(self, call: Call) -> Float[Tensor, "w m p 1"]:
        """How much each of these people's words count at the places of the cond rows."""
        rule = self.routing.rule
        fixed = rule.fixed_at(call.query.shape[1])
        if not rule.learned:
            whole = call.query.new_ones(1, 1, 1) if fixed is None else fixed[None].to(call.query)
            return self._of_those(whole, call)
        decided = self.routing.at(call)
        if decided.grown is None:
            grown = self._grown(decided, call)
            if fixed is not None:
                fixed = fixed[None].to(grown)
                grown = fixed + left_over(fixed) * grown
            decided.grown = self._of_those(grown.to(call.query), call)
        return decided.grown

    def _grown(self, decided: Decided, call: Call) -> Float[Tensor, "b n i"]:
        assert self.routing.latent_size is not None
        assert decided.evidence is not None
        grid = grid_of(call.query.shape[1], self.routing.latent_size)
        found = on_grid(decided.evidence, grid)
        if not self.routing.deciding.smooth:
            found = smoothed(found, SMOOTH)
        text = _of_cond(call.text, call.rows.runs)
        seen = Seen(scores=found[:, :-1], presence=found[:, -1:], text=on_grid(text, grid))
        grown = rearrange(WAYS[self.way](seen), "b i height width -> b (height width) i")
        return self.routing.among_all(grown)

    def _of_those(self, whole: Float[Tensor, "m p i"], call: Call) -> Float[Tensor, "w m p 1"]:
        parts = torch.stack([whole[..., one.person, None] for one in self.words])
        return parts * STRENGTH if call.rows.progress < EARLY else parts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WordsBranch:
    """A :class:`lib_uniid.attention.branch.Branch`; its state is that of the changes of the words."""

    site: Site
    own: OwnWords

    def state(self, progress: float) -> Hashable:
        return tuple(tuple(change.state(progress) for change in one.changes) for one in self.own.words)

    def prepare(self, state: Hashable, query: Float[Tensor, "b n d"], rows: Rows) -> Prepared:
        if Role.COND not in rows.roles:
            return _nothing
        texts = self._texts(cast("tuple[tuple[Hashable, ...], ...]", state), query)
        most = max(len(text) for text in texts)
        key, value = (
            torch.stack([self._heads(linear(text)).to(query).expand(most, -1, -1, -1) for text in texts])
            for linear in (self.site.to_k, self.site.to_v)
        )
        return _Ready(self.own, key, value)

    def _heads(self, projected: Float[Tensor, "r t d"]) -> Float[Tensor, "r h t c"]:
        return rearrange(projected, "r t (h c) -> r h t c", h=self.site.heads)

    def _texts(self, states: tuple[tuple[Hashable, ...], ...], like: Tensor) -> list[Float[Tensor, "r t d"]]:
        texts: list[Tensor] = []
        for one, theirs in zip(self.own.words, states, strict=True):
            text = one.states.to(like)
            alike = Rows([Role.COND] * len(text))
            for change, state in zip(one.changes, theirs, strict=True):
                if state is not None:
                    text = change.prepare(state, text, alike)(text, alike)
            texts.append(text)
        return texts


class _Ready:
    """Keys and values of each person's words, for all cond rows or for each: ``w r h t c``."""

    def __init__(self, own: OwnWords, key: Tensor, value: Tensor) -> None:
        self.own, self.key, self.value = own, key, value

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        runs = call.rows.runs
        query, text = _of_cond(call.query, runs), _of_cond(call.text, runs)
        key, value = self.key, self.value
        if key.shape[1] > 1:
            own = slice(call.rows.before, call.rows.before + len(query))
            key, value = key[:, own], value[:, own]
        if len(query) == 1:
            out = attend(query.expand(len(key), -1, -1), key[:, 0], value[:, 0])[:, None]  # w 1 n d
        else:
            out = torch.stack([attend(query, k, v) for k, v in zip(key, value, strict=True)])
        return _to_cond(((out - text) * self.own.parts(call)).sum(dim=0), call)


def _nothing(call: Call) -> Float[Tensor, "b n d"]:
    """For calls without cond rows."""
    return torch.zeros_like(call.text)


def _of_cond(x: Float[Tensor, "b ..."], runs: Sequence[RowSpan]) -> Float[Tensor, "rows ..."]:
    parts = [x[run.rows] for run in runs if run.role is Role.COND]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _to_cond(added: Float[Tensor, "rows n d"], call: Call) -> Float[Tensor, "b n d"]:
    """Zeros in all other rows."""
    if len(added) == len(call.text):
        return added
    runs = [run for run in call.rows.runs if run.role is Role.COND]
    if len(runs) == 1:
        after = len(call.text) - runs[0].rows.stop
        return functional.pad(added, (0, 0, 0, 0, runs[0].rows.start, after))
    whole = torch.zeros_like(call.text)
    for run in runs:
        whole[run.rows] = added[run.entries]
    return whole
