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
from lib_uniid.attention.branches import IdentityBranch, ImageBranch, JoinedBranch, Routed
from lib_uniid.attention.lora import beside, merged
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Rows
from lib_uniid.attention.sites import Site
from lib_uniid.errors import HooksIgnoredError
from lib_uniid.typing import Float

MOST_READY = 4
"""Kinds of calls a site is kept ready for: two passes of two sizes, each with cond and uncond apart."""


@dataclass(slots=True)
class RoutingRecord:
    """The routing of the latest UNet call by the index of the site: cond rows only, not copied.

    It is put together when it is asked for, and not in every step.
    """

    routed: dict[int, tuple[Routed, ...]] = field(default_factory=dict[int, tuple[Routed, ...]])

    def note(self, index: int, routed: Sequence[Routed]) -> None:
        """Replace what is known of a site."""
        self.routed[index] = tuple(routed)

    @property
    def maps(self) -> dict[int, Float[Tensor, "b n i"]]:
        """What was done: one-hot, soft or drawn."""
        return {index: torch.cat([run.routing for run in routed]) for index, routed in self.routed.items()}

    @property
    def logits(self) -> dict[int, Float[Tensor, "b n i"]]:
        """What the router said, with its gradient, at the sites where it was asked."""
        said = {
            index: [run.logits for run in routed if run.logits is not None]
            for index, routed in self.routed.items()
        }
        return {index: torch.cat(logits) for index, logits in said.items() if logits}


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
        self.taken: tuple[Tensor, Tensor, _Ready] | None = None
        self.ready: dict[object, _Ready | None] = {}

    def take(self, _module: nn.Module, inputs: tuple[Any, ...], query: Tensor) -> None:
        self.calls.note_take(self.name)
        ready = self._prepared(query)
        self.taken = None if ready is None else (inputs[0], query, ready)

    def add(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self.calls.added[self.name] += 1
        if self.taken is None:
            return None
        (hidden, query, ready), self.taken = self.taken, None
        self.rows.require(inputs[0].shape[0])
        return self._sum(ready, inputs[0], query, hidden), *inputs[1:]

    def _prepared(self, query: Tensor) -> "_Ready | None":
        """The branches for this precision, size, rows and people; None where there are none.

        Made once for each, so that calls with other rows may take turns.
        """
        gains = self.plan.gains(self.rows.progress)
        wanted = query.dtype, query.device, query.shape[1], gains, self.rows.roles
        if wanted not in self.ready:
            if len(self.ready) == MOST_READY:
                self.ready.clear()
            self.ready[wanted] = self._prepare(gains, query)
        return self.ready[wanted]

    def _prepare(self, gains: tuple[float, ...], query: Tensor) -> "_Ready | None":
        identity = self.plan.identity_branch(self.index, gains, query) if any(gains) else None
        image = self.plan.image_branch(self.index, query) if self.index in self.plan.image else None
        if identity is None and image is None:
            return None
        joined = (
            None if identity is None or image else JoinedBranch.of(identity, self.rows.runs, query.shape[1])
        )
        return _Ready(identity=identity, image=image, joined=joined)

    def _sum(self, ready: "_Ready", text: Tensor, query: Tensor, hidden: Tensor) -> Tensor:
        if ready.joined is not None:
            identity, routed = ready.joined(query, hidden)
            self._note([] if routed is None else [routed])
            return text + identity
        parts: list[Tensor] = []
        seen: list[Routed] = []
        for run in self.rows.runs:
            part = text[run.rows]
            if run.role.guided and ready.identity is not None:
                identity, routed = ready.identity(run, query[run.rows], hidden[run.rows])
                part = part + identity
                seen += [] if routed is None else [routed]
            if run.role.guided and ready.image is not None:
                part = part + ready.image(run, query[run.rows])
            parts.append(part)
        self._note(seen)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _note(self, seen: Sequence[Routed]) -> None:
        if self.record is not None and seen:
            self.record.note(self.index, seen)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ready:
    """A site's branches for one kind of call; ``joined`` where all rows can be attended to together."""

    identity: IdentityBranch | None
    image: ImageBranch | None
    joined: JoinedBranch | None
