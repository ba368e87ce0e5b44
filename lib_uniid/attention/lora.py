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

    The original tensor is kept and put back, so what comes out is bit for bit what went in.
    """
    original = linear.weight.data
    with torch.inference_mode(mode=False), torch.no_grad():
        delta = scale * lora.delta().to(original.device)
        linear.weight.data = (original.float() + delta).to(original.dtype)
    try:
        yield
    finally:
        linear.weight.data = original


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
