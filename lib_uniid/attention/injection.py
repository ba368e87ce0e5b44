"""A plan put on a UNet and taken off again; what goes in comes out, even when sampling fails.

The seam is the same in every host: a forward hook on ``to_q`` takes the query, a forward pre-hook on the
linear layer ``to_out[0]`` adds the identity branch to the text attention, so it works under any attention
optimisation.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention import compiled
from lib_uniid.attention.branches import IdentityBranch, ImageBranch, Routed
from lib_uniid.attention.lora import beside, merged
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Rows
from lib_uniid.attention.sites import Site
from lib_uniid.errors import HooksIgnoredError
from lib_uniid.typing import Float


@dataclass(slots=True)
class RoutingRecord:
    """The routing of the latest UNet call by the index of the site: cond rows only, not copied.

    ``maps`` holds what was done (one-hot, soft or drawn), ``logits`` what the router said, with its gradient.
    """

    maps: dict[int, Float[Tensor, "b n i"]] = field(default_factory=dict[int, Tensor])
    logits: dict[int, Float[Tensor, "b n i"]] = field(default_factory=dict[int, Tensor])

    def note(self, index: int, routed: Sequence[Routed]) -> None:
        """Replace what is known of a site."""
        self.maps[index] = torch.cat([run.routing for run in routed])
        if logits := [run.logits for run in routed if run.logits is not None]:
            self.logits[index] = torch.cat(logits)


@dataclass(slots=True, eq=False)
class Calls:
    """How often the two hooks of each site were called, by its name, and whether the UNet is compiled."""

    taken: dict[str, int] = field(default_factory=dict[str, int])
    added: dict[str, int] = field(default_factory=dict[str, int])
    compiled: bool = False

    def note_take(self, name: str) -> None:
        """Count a query; the first one looks who calls."""
        if not any(self.taken.values()):
            self.compiled = compiled.called_by_compiled()
        self.taken[name] += 1

    def require(self) -> None:
        """``HooksIgnoredError`` where a site's query or sum never passed through its hook."""
        silent = [name for name in self.taken if not self.taken[name] or not self.added[name]]
        if silent:
            raise HooksIgnoredError(
                f"Identities not applied: {len(silent)} of {len(self.taken)} cross-attention layers were "
                f"computed without their hooks (the first is {silent[0]}); switch off what computes the UNet "
                "in another way: an engine (SD Unet in AUTOMATIC1111's settings), a compiler (Torch Compile "
                "in Forge Neo) or another extension"
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
    """Put ``plan`` on the UNet with these sites for as long as the context lasts; None puts on nothing.

    ``rows`` may be changed between UNet calls. A trainer says ``merge_lora=False``, which lets gradients
    reach the LoRA. ``record`` is filled at every call. Where torch can, it suspends compiled code meanwhile.
    The calls of the hooks are counted. Raises ConfigError for a UNet with fused projections.
    """
    calls = Calls()
    with ExitStack() as stack:
        if plan is not None:
            stack.enter_context(compiled.suspended())
            scale = plan.settings.lora_scale
            for site in sites:
                site.require_unfused()
                for name, lora in plan.lora.get(site.index, {}).items():
                    linear = site.projections[name]
                    stack.enter_context(
                        merged(linear, lora, scale, plan.deltas)
                        if merge_lora
                        else beside(linear, lora, scale)
                    )
                if site.index in plan.identity or site.index in plan.image:
                    attachment = _Attachment(site, plan, rows, record, calls)
                    stack.callback(site.to_q.register_forward_hook(attachment.take).remove)
                    stack.callback(site.to_out.register_forward_pre_hook(attachment.add).remove)
        yield calls


class _Attachment:
    """One site's hooks. It holds the layer's activations only between ``to_q`` and ``to_out``."""

    def __init__(
        self, site: Site, plan: Plan, rows: Rows, record: RoutingRecord | None, calls: Calls
    ) -> None:
        self.index, self.plan, self.rows, self.record = site.index, plan, rows, record
        self.name, self.calls = site.name, calls
        calls.taken[site.name] = calls.added[site.name] = 0
        self.taken: tuple[Tensor, Tensor] | None = None
        self.ready_for: object = None
        self.identity: IdentityBranch | None = None
        self.image: ImageBranch | None = None

    def take(self, _module: nn.Module, inputs: tuple[Any, ...], query: Tensor) -> None:
        self.calls.note_take(self.name)
        self._prepare(query)
        if self.identity is not None or self.image is not None:
            self.taken = inputs[0], query

    def add(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self.calls.added[self.name] += 1
        if self.taken is None:
            return None
        (hidden, query), self.taken = self.taken, None
        return self._sum(inputs[0], query, hidden), *inputs[1:]

    def _prepare(self, query: Tensor) -> None:
        """Make the branches anew when the precision, the size or the people present have changed."""
        gains = self.plan.gains(self.rows.progress)
        wanted = query.dtype, query.device, query.shape[1], gains
        if wanted == self.ready_for:
            return
        self.identity = self.plan.identity_branch(self.index, gains, query) if any(gains) else None
        self.image = self.plan.image_branch(self.index, query) if self.index in self.plan.image else None
        self.ready_for = wanted

    def _sum(self, text: Tensor, query: Tensor, hidden: Tensor) -> Tensor:
        self.rows.require(text.shape[0])
        parts: list[Tensor] = []
        seen: list[Routed] = []
        for run in self.rows.runs:
            part = text[run.rows]
            if run.role.guided and self.identity is not None:
                identity, routed = self.identity(run, query[run.rows], hidden[run.rows])
                part = part + identity
                seen += [] if routed is None else [routed]
            if run.role.guided and self.image is not None:
                part = part + self.image(run, query[run.rows])
            parts.append(part)
        if self.record is not None and seen:
            self.record.note(self.index, seen)
        return parts[0] if len(parts) == 1 else torch.cat(parts)
