"""Branches of a plugin's method: whatever they raise while a picture is sampled names the plugin."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

from torch import Tensor

from lib_uniid.attention.branch import Branch, Call, Prepared
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Rows
from lib_uniid.plugins import Plugins
from lib_uniid.typing import Float

DOING = "injecting identities"


def guarded(plan: Plan, plugins: Plugins, plugin: str) -> Plan:
    """The same plan for the method of a plugin; that of a built-in method is returned as it is."""
    if plugins.is_built_in(plugin):
        return plan
    branches = {
        index: tuple(_Guarded(branch=branch, plugins=plugins, plugin=plugin) for branch in theirs)
        for index, theirs in plan.branches.items()
    }
    return replace(plan, branches=branches)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Guarded:
    """A :class:`lib_uniid.attention.branch.Branch`."""

    branch: Branch
    plugins: Plugins
    plugin: str

    def state(self, progress: float) -> Hashable:
        with self.plugins.guarding(self.plugin, DOING):
            return self.branch.state(progress)

    def prepare(self, state: Hashable, query: Float[Tensor, "b n d"], rows: Rows) -> Prepared:
        with self.plugins.guarding(self.plugin, DOING):
            prepared = self.branch.prepare(state, query, rows)
        return _GuardedPrepared(prepared=prepared, owner=self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _GuardedPrepared:
    prepared: Prepared
    owner: _Guarded

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        with self.owner.plugins.guarding(self.owner.plugin, DOING):
            return self.prepared(call)
