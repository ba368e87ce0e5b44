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

    A copy of the weight is kept and copied back, so what comes out is bit for bit what went in. The storage
    stays the same: the host may move the layer between devices, and the memory is as warm as without people.
    """
    with torch.inference_mode():  # may write to any weight, however the host has loaded it
        original = linear.weight.clone()
        delta = scale * lora.delta().to(original.device)
        linear.weight.data.copy_(original.float() + delta)
    try:
        yield
    finally:
        with torch.inference_mode():
            linear.weight.data.copy_(original)


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
