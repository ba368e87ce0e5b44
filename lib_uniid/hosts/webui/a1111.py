"""Injection into AUTOMATIC1111's UNet: rows by position, LoRA merged beside the user's LoRAs."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention.injection import injected
from lib_uniid.attention.lora import Deltas, LoRA, merge, overwrite
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site
from lib_uniid.hosts.webui.attachment import Counter, progress_of, unet_of, untouched

NETWORKS, BACKUP = "network_", "network_weights_backup"
"""The prefix of the attributes in which the host's Lora extension keeps a layer's state; one such name."""

SAMPLE = 64
"""Number of values that identify a weight."""


class Cursor:
    """The roles of the rows of each UNet call, by position.

    For each evaluation of the model the host orders all cond rows before all uncond rows, and passes them to
    the UNet in that order: in one call, in chunks that may hold both, or without the uncond rows.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows, self.unexplained = rows, 0
        self._order: list[Role] = []
        self._place = 0

    def reset(self, cond: int, total: int) -> None:
        """Begin an evaluation of ``total`` rows, of which the first ``cond`` are cond rows."""
        self._order = [Role.COND] * cond + [Role.UNCOND] * (total - cond)
        self._place = 0

    def advance(self, count: int) -> None:
        """Set the roles for a UNet call of ``count`` rows; unexpected rows are left unchanged."""
        roles = self._order[self._place : self._place + count]
        self.rows.before = self._order[: self._place].count(Role.COND)
        self._place += count
        if len(roles) < count:
            roles, self.unexplained = untouched(count), self.unexplained + 1
        self.rows.roles = roles


class A1111Injection:
    """A plan on the UNet of ``p``; see :class:`lib_uniid.hosts.webui.attachment.Attachment`."""

    def __init__(
        self, p: Any, sites: tuple[Site, ...], plan: Plan, record: RoutingRecord | None = None
    ) -> None:
        self.unet, self.rows, self._checkpoint = unet_of(p), Rows(()), _checkpoint(p)
        self.cursor = Cursor(self.rows)
        with ExitStack() as stack:
            self._layers = [
                stack.enter_context(
                    beside_networks(site.projections[name], lora, plan.merge_scale, plan.deltas)
                )
                for site in sites
                for name, lora in plan.merges.get(site.index, {}).items()
            ]
            calls = stack.enter_context(injected(sites, replace(plan, merges={}), self.rows, record=record))
            # First of all hooks: those of the plan read the rows.
            handle = self.unet.register_forward_pre_hook(self._call, with_kwargs=True, prepend=True)
            stack.callback(handle.remove)
            self.counter = Counter(calls)
            self._stack = stack.pop_all()

    def holds(self, p: Any) -> bool:
        # The host loads a checkpoint of the same configuration into the same UNet.
        same = unet_of(p) is self.unet and _checkpoint(p) is self._checkpoint
        return same and all(layer.unchanged for layer in self._layers)

    def step(self, params: Any) -> None:
        self.counter.evaluations += 1
        self.rows.progress = progress_of(params)
        self.cursor.reset(cond=int(params.text_cond.shape[0]), total=int(params.x.shape[0]))

    @property
    def called(self) -> bool:
        return self.counter.called

    def require(self, *, seen: bool) -> None:
        self.counter.require(seen=seen)

    def notes(self) -> list[str]:
        notes = self.counter.notes()
        if self.cursor.unexplained:
            notes.append(
                f"identities were not applied in {self.cursor.unexplained} calls of the UNet: another "
                "extension called it with rows of unknown roles"
            )
        return notes

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        return picture * rows // pictures  # the rows of a picture's AND prompts are adjacent

    def release(self) -> None:
        self._stack.close()

    def _call(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x: Tensor = args[0] if args else kwargs["x"]
        self.cursor.advance(x.shape[0])


def _checkpoint(p: Any) -> object:
    return getattr(p.sd_model, "sd_checkpoint_info", None)


class Layer:
    """A linear layer with our LoRA merged, and the state of the host's Lora extension before the merge."""

    def __init__(self, linear: nn.Linear, lora: LoRA, scale: float, deltas: Deltas) -> None:
        self.linear = linear
        bias: Tensor | None = getattr(linear, "bias", None)
        self._bias = None if bias is None else bias.detach().clone()
        self._state = self._now()
        self._weight = merge(linear, lora, scale, deltas)
        self._ours = self._sample()

    @property
    def unchanged(self) -> bool:
        """Whether the Lora extension has not changed the layer since."""
        now = self._now()
        return now.keys() == self._state.keys() and all(now[name] is self._state[name] for name in now)

    def restore(self) -> None:
        """Remove our LoRA if it is still merged.

        A weight that was replaced since the merge is kept: by another checkpoint, or by the Lora extension
        from its backup, unless that backup contains our LoRA.
        """
        backup = vars(self.linear).get(BACKUP)
        if not torch.equal(self._sample(), self._ours) and (
            backup is None or backup is self._state.get(BACKUP)
        ):
            return
        overwrite(self.linear.weight, self._weight)
        if self._bias is not None:
            overwrite(self.linear.bias, self._bias)
        for name in self._now().keys() - self._state.keys():
            delattr(self.linear, name)
        for name, value in self._state.items():
            setattr(self.linear, name, value)

    def _now(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self.linear).items() if name.startswith(NETWORKS)}

    def _sample(self) -> Tensor:
        """A copy of a few values, which identify the weight."""
        weight = self.linear.weight.detach()
        if weight.is_meta:  # the host has unloaded the model
            return weight.new_zeros(0, device="cpu")
        return weight.flatten()[:: max(1, weight.numel() // SAMPLE)].clone().float().cpu()


@contextmanager
def beside_networks(linear: nn.Linear, lora: LoRA, scale: float, deltas: Deltas) -> Generator[Layer]:
    """Merge ``lora`` into a layer together with the user's LoRAs.

    The host's Lora extension merges the user's LoRAs lazily, in ``nn.Linear.forward``, and keeps a backup of
    the original weight. After our merge, that backup would contain our LoRA. So one call with zeros makes the
    extension merge first. If it merges again later (a LoRA that is switched at some step), the layer's state
    is restored together with the weight that belongs to it, and the extension merges anew at the next call.
    """
    with torch.no_grad(), suppress(RuntimeError):  # raised after the merge: a CPU may lack the product
        linear.forward(linear.weight.new_zeros(1, linear.in_features))
    layer = Layer(linear, lora, scale, deltas)
    try:
        yield layer
    finally:
        layer.restore()
