"""LoRA on a linear layer, for as long as a context lasts."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention.adapter import LoRA


@contextmanager
def merged(linear: nn.Linear, lora: LoRA, scale: float) -> Generator[None]:
    """Add the LoRA to the layer's weight: it costs nothing per step.

    A copy of the weight is kept and copied back, so what comes out is bit for bit what went in.
    """
    original = merge(linear, lora, scale)
    try:
        yield
    finally:
        overwrite(linear.weight, original)


def merge(linear: nn.Linear, lora: LoRA, scale: float) -> Tensor:
    """Add the LoRA to the layer's weight for good, and return a copy of the weight before."""
    with torch.inference_mode():
        original = linear.weight.clone()
        delta = scale * lora.delta().to(original.device)
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
