"""Injects a plan into a UNet and ejects it; afterwards the UNet is unchanged, even when sampling fails.

The hooks are the same in every host: a forward hook on ``to_q`` takes the query, a forward pre-hook on the
linear layer ``to_out[0]`` adds the identity branch to the text attention, so it works under any attention
optimisation. Changes of the text states are a pre-hook of the UNet itself.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from lib_uniid.attention import compiled
from lib_uniid.attention.branch import Branch, Call, Prepared
from lib_uniid.attention.context import ContextHook
from lib_uniid.attention.lora import beside, merged
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Rows
from lib_uniid.attention.sites import Site
from lib_uniid.errors import HooksIgnoredError

MOST_READY = 4
"""Kinds of calls a site is kept ready for: two passes of two sizes, each with cond and uncond apart."""


@dataclass(slots=True, eq=False)
class Calls:
    """How often the two hooks of each site were called, by its name, and whether the UNet is compiled.

    ``context`` counts the hook on the UNet; None in a plan that does not change the text states.
    """

    taken: dict[str, int] = field(default_factory=dict[str, int])
    added: dict[str, int] = field(default_factory=dict[str, int])
    context: int | None = None
    compiled: bool = False

    @property
    def any(self) -> bool:
        """Whether some hook was called."""
        return bool(self.context) or any(self.taken.values()) or any(self.added.values())

    def note_take(self, name: str) -> None:
        """Count a query; the first call of a hook checks whether the caller is compiled."""
        self._note_first()
        self.taken[name] += 1

    def note_context(self) -> None:
        """Count a call of the UNet."""
        self._note_first()
        self.context = (self.context or 0) + 1

    def _note_first(self) -> None:
        if not self.context and not any(self.taken.values()):
            self.compiled = compiled.called_by_compiled()

    def require(self) -> None:
        """``HooksIgnoredError`` if a site's query or sum, or the text, never passed through its hook."""
        missed = [name for name in self.taken if not self.taken[name] or not self.added[name]]
        if missed:
            raise HooksIgnoredError(
                f"Identities not applied: {len(missed)} of {len(self.taken)} cross-attention layers were "
                f"computed without their hooks (the first is {missed[0]}); switch off what computes the UNet "
                "in another way: an engine (SD Unet in AUTOMATIC1111's settings), a compiler (Torch Compile "
                "in Forge Neo) or another extension"
            )
        if self.context == 0:
            raise HooksIgnoredError(
                "Identities not applied: the UNet was computed without the hook that puts their tokens among "
                "those of the prompt; switch off the extension that replaces the UNet's call"
            )


@contextmanager
def injected(
    sites: Sequence[Site],
    plan: Plan | None,
    rows: Rows,
    *,
    merge_lora: bool = True,
    record: RoutingRecord | None = None,
) -> Generator[Calls]:
    """Inject ``plan`` into the UNet with these sites while the context lasts; None injects nothing.

    ``rows`` may be changed between UNet calls. A trainer sets ``merge_lora=False``, which lets gradients
    reach the LoRA. ``record`` is filled at every call. Where torch can, it suspends compiled code meanwhile.
    The calls of the hooks are counted. Raises ConfigError for a UNet with fused projections.
    """
    calls = Calls()
    with ExitStack() as stack:
        if plan is not None:
            stack.enter_context(compiled.suspended())
            if plan.routing is not None:
                plan.routing.reset()
                stack.callback(plan.routing.reset)
            if plan.context and sites:
                calls.context = 0
                ContextHook(plan.context, rows, calls.note_context).register(sites[0].unet, stack)
            for site in sites:
                site.require_unfused()
                for name, lora in plan.merges.get(site.index, {}).items():
                    linear = site.projections[name]
                    stack.enter_context(
                        merged(linear, lora, plan.merge_scale, plan.deltas)
                        if merge_lora
                        else beside(linear, lora, plan.merge_scale)
                    )
                if branches := plan.branches.get(site.index):
                    injected_site = _InjectedSite(site, branches, rows, record, calls)
                    stack.callback(site.to_q.register_forward_hook(injected_site.take).remove)
                    stack.callback(site.to_out.register_forward_pre_hook(injected_site.add).remove)
        yield calls


class _InjectedSite:
    """One site's hooks. It holds the layer's activations only between ``to_q`` and ``to_out``."""

    def __init__(
        self,
        site: Site,
        branches: Sequence[Branch],
        rows: Rows,
        record: RoutingRecord | None,
        calls: Calls,
    ) -> None:
        self.site, self.branches, self.rows, self.record, self.calls = site, branches, rows, record, calls
        self.name = site.name
        calls.taken[site.name] = calls.added[site.name] = 0
        self.taken: tuple[Tensor, Tensor, tuple[Prepared, ...]] | None = None
        self.prepared: dict[object, tuple[object, tuple[Prepared, ...]]] = {}

    def take(self, _module: nn.Module, inputs: tuple[Any, ...], query: Tensor) -> None:
        self.calls.note_take(self.name)
        prepared = self._prepared(query)
        self.taken = (inputs[0], query, prepared) if prepared else None

    def add(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self.calls.added[self.name] += 1
        if self.taken is None:
            return None
        (hidden, query, prepared), self.taken = self.taken, None
        text = inputs[0]
        self.rows.require(text.shape[0])
        call = Call(
            site=self.site.index, rows=self.rows, query=query, hidden=hidden, text=text, record=self.record
        )
        total = text
        for branch in prepared:
            total = total + branch(call)
        return total, *inputs[1:]

    def _prepared(self, query: Tensor) -> tuple[Prepared, ...]:
        """The branches that add something now, ready for this precision, size and rows.

        Made once for each kind of call and state, so that calls with other rows may take turns. What was made
        for an earlier state of the same kind is dropped.
        """
        states = tuple(branch.state(self.rows.progress) for branch in self.branches)
        kind = query.dtype, query.device, query.shape[1], self.rows.roles
        if kind not in self.prepared and len(self.prepared) == MOST_READY:
            self.prepared.clear()
        if kind not in self.prepared or self.prepared[kind][0] != states:
            self.prepared[kind] = (
                states,
                tuple(
                    branch.prepare(state, query, self.rows)
                    for branch, state in zip(self.branches, states, strict=True)
                    if state is not None
                ),
            )
        return self.prepared[kind][1]
