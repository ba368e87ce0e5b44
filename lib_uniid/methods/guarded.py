"""Plans of a plugin's method: a wrong value, or whatever is raised while sampling, names the plugin."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lib_uniid.attention.branch import Branch, Call, Prepared
from lib_uniid.attention.context import PreparedText, TextChange
from lib_uniid.attention.lora import LoRA
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Rows
from lib_uniid.attention.sites import Site
from lib_uniid.plugins import Plugins, required
from lib_uniid.typing import Float

DOING = "injecting identities"


def guarded(planned: object, sites: Sequence[Site], plugins: Plugins, plugin: str) -> Plan:
    """The same plan for the method of a plugin; that of a built-in method is returned as it is.

    Call it inside :meth:`lib_uniid.plugins.Plugins.guarding`. Raises ``TypeError``, ``ValueError`` or
    ``KeyError`` for what is no plan for these sites.
    """
    plan = required(Plan, planned)
    if plugins.is_built_in(plugin):
        return plan
    branches = {
        index: tuple(
            _Guarded(branch=required(Branch, branch), plugins=plugins, plugin=plugin) for branch in theirs
        )
        for index, theirs in plan.branches.items()
    }
    for site in sites:
        for name, lora in plan.merges.get(site.index, {}).items():
            linear, down, up = site.projections[name], required(LoRA, lora).down, lora.up
            if (down.in_features, up.out_features) != (linear.in_features, linear.out_features):
                message = (
                    f"a LoRA of {down.in_features} to {up.out_features} channels for {name} of {site.name}, "
                    f"which has {linear.in_features} to {linear.out_features}"
                )
                raise ValueError(message)
    context, contexts = (
        tuple(
            _GuardedText(change=required(TextChange, change), plugins=plugins, plugin=plugin)
            for change in changes
        )
        for changes in (plan.context, plan.contexts)
    )
    return replace(plan, branches=branches, context=context, contexts=contexts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Guarded:
    """A :class:`lib_uniid.attention.branch.Branch`."""

    branch: Branch
    plugins: Plugins
    plugin: str

    def state(self, progress: float) -> Hashable:
        with self.plugins.guarding(self.plugin, DOING):
            state = self.branch.state(progress)
            hash(state)  # raises TypeError for a value that cannot be compared with earlier ones
            return state

    def prepare(self, state: Hashable, query: Float[Tensor, "b n d"], rows: Rows) -> Prepared:
        with self.plugins.guarding(self.plugin, DOING):
            prepared = required(Prepared, self.branch.prepare(state, query, rows))
        return _GuardedPrepared(prepared=prepared, owner=self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _GuardedPrepared:
    prepared: Prepared
    owner: _Guarded

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        with self.owner.plugins.guarding(self.owner.plugin, DOING):
            added, text = required(Tensor, self.prepared(call)), call.text
            return _like(added, text)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _GuardedText:
    """A :class:`lib_uniid.attention.context.TextChange`."""

    change: TextChange
    plugins: Plugins
    plugin: str

    @property
    def tokens(self) -> int:
        with self.plugins.guarding(self.plugin, DOING):
            return required(int, self.change.tokens)

    def state(self, progress: float) -> Hashable:
        with self.plugins.guarding(self.plugin, DOING):
            state = self.change.state(progress)
            hash(state)
            return state

    def prepare(self, state: Hashable, text: Float[Tensor, "b t d"], rows: Rows) -> PreparedText:
        with self.plugins.guarding(self.plugin, DOING):
            prepared = required(PreparedText, self.change.prepare(state, text, rows))
        return _GuardedPreparedText(prepared=prepared, owner=self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _GuardedPreparedText:
    prepared: PreparedText
    owner: _GuardedText

    def __call__(self, text: Float[Tensor, "b t d"], rows: Rows) -> Float[Tensor, "b t d"]:
        with self.owner.plugins.guarding(self.owner.plugin, DOING):
            return _like(required(Tensor, self.prepared(text, rows)), text)


def _like(made: Tensor, text: Tensor) -> Tensor:
    """In the precision of ``text``; ``ValueError`` for another shape or device."""
    if (made.shape, made.device) != (text.shape, text.device):
        message = f"{tuple(made.shape)} on {made.device} instead of {tuple(text.shape)} on {text.device}"
        raise ValueError(message)
    return made.to(text.dtype)
