"""Plans of a plugin's method: a wrong value, or whatever is raised while sampling, names the plugin."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lib_uniid.attention.branch import Branch, Call, Prepared
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
    return replace(plan, branches=branches)


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
            if (added.shape, added.device) != (text.shape, text.device):
                message = (
                    f"{tuple(added.shape)} on {added.device} instead of {tuple(text.shape)} on {text.device}"
                )
                raise ValueError(message)
            return added.to(text.dtype)
