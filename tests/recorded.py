"""Recorded outputs of the official code, and the weights they were recorded with.

The JSON beside each safetensors file says what it is, how it was made, and from which upstream commit.
"""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden" / "uniportrait"


def tensors(name: str) -> dict[str, Tensor]:
    """All tensors of one recording."""
    return load_file(FOLDER / f"{name}.safetensors")


def notes(name: str) -> dict[str, Any]:
    """What is written about one recording."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def named_normal(name: str, shape: Sequence[int], seed: int) -> Tensor:
    """Normal numbers that depend on the name alone: numpy's legacy stream is frozen across versions."""
    stream = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    return torch.from_numpy(stream.standard_normal(tuple(shape)).astype(np.float32))


def filled(name: str, shape: Sequence[int], seed: int, gain: float = 1.0) -> Tensor:
    """The weight that the full-size recordings were made with, from its official name."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    if name.endswith("position_ids"):
        return torch.arange(shape[-1]).reshape(tuple(shape))
    x = named_normal(name, shape, seed)
    if name.endswith("running_var"):
        return 1.0 + 0.1 * x.abs()
    if name.endswith("latents"):
        return x / math.sqrt(shape[-1])
    if len(shape) >= 2:
        return gain * x / math.sqrt(math.prod(shape[1:]))
    if name.endswith(("input_layer.2.weight", "res_layer.3.weight")):  # PReLU slopes
        return 0.25 + 0.05 * x
    return 1.0 + 0.1 * x if name.endswith("weight") else 0.1 * x


def filled_state(
    shapes: Mapping[str, Sequence[int]], seed: int, gain: float = 1.0, prefix: str = ""
) -> dict[str, Tensor]:
    """A whole state dict; ``prefix`` is part of the names for the numbers only."""
    return {name: filled(prefix + name, shape, seed, gain) for name, shape in shapes.items()}
