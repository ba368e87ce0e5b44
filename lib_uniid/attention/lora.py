"""LoRA, and how it is injected into a linear layer for as long as a context lasts."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.typing import Float


class LoRA(nn.Module):
    """A low-rank change of one linear layer, without alpha: ``up(down(x))``. It starts as no change."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        nn.init.normal_(self.down.weight, std=1 / rank)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Float[Tensor, "... c"]) -> Float[Tensor, "... d"]:
        return self.up(self.down(x))

    def delta(self, device: torch.device | None = None) -> Float[Tensor, "d c"]:
        """The change of the weight, in float32, computed on ``device`` or where the LoRA is."""
        up, down = (linear.weight.to(device, torch.float32) for linear in (self.up, self.down))
        return up @ down


class Deltas:
    """The weight changes of one generation's LoRA, each computed once and used in every pass.

    A change is computed in float32 on the device of the layer and kept in the precision of the layer, or in
    half precision where the layer is stored in fewer bits.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}

    def of(self, lora: LoRA, weight: Tensor) -> Float[Tensor, "d c"]:
        """The change of ``weight``, ``d c``, at a scale of 1."""
        dtype = weight.dtype if weight.dtype.itemsize > 1 else torch.float16
        key = id(lora), weight.device, dtype
        if key not in self._kept:
            self._kept[key] = lora.delta(weight.device).to(dtype)
        return self._kept[key]


@contextmanager
def merged(linear: nn.Linear, lora: LoRA, scale: float, deltas: Deltas) -> Generator[None]:
    """Add the LoRA to the layer's weight: it costs nothing per step.

    A copy of the weight is kept and copied back, so the weight is bit for bit the same afterwards.
    """
    original = merge(linear, lora, scale, deltas)
    try:
        yield
    finally:
        overwrite(linear.weight, original)


def merge(linear: nn.Linear, lora: LoRA, scale: float, deltas: Deltas) -> Tensor:
    """Add the LoRA to the layer's weight for good, and return a copy of the weight before."""
    with torch.inference_mode():
        original = linear.weight.clone()
        delta = scale * deltas.of(lora, original).float()
        overwrite(linear.weight, original.float() + delta)
    return original


def overwrite(weight: Tensor, values: Tensor) -> None:
    """Write into a weight's own storage, however the host has loaded it.

    The storage stays the same: the host may move the layer between devices, and the memory is as warm as
    without people.
    """
    with torch.inference_mode():
        weight.data.copy_(values)


@contextmanager
def beside(linear: nn.Linear, lora: LoRA, scale: float) -> Generator[None]:
    """Add the LoRA to the layer's output: slower, differentiable, the weight is not touched."""

    def add(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + scale * lora(inputs[0])

    handle = linear.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
