"""Recorded outputs of UniID's official code; ``golden/uniid/manifest.json`` says how each was made.

Weights and inputs are functions of their names (numpy's legacy stream is frozen across versions).
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

FOLDER = Path(__file__).parent / "golden" / "uniid"


def tensors(name: str) -> dict[str, Tensor]:
    """All tensors of one recording."""
    return load_file(FOLDER / f"{name}.safetensors")


def notes(name: str) -> dict[str, Any]:
    """What is written about one recording."""
    return json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))["goldens"][name]


def written(name: str) -> dict[str, Any]:
    """A recording without tensors."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def weight(key: str, shape: Sequence[int], prefix: str = "") -> Tensor:
    """The weight of this name."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    stream = np.random.RandomState(zlib.crc32((prefix + key).encode()) & 0x7FFFFFFF)
    count = math.prod(shape)
    if key.endswith("running_var"):
        x = 0.75 + 0.5 * stream.random_sample(count)
    else:
        x = stream.standard_normal(count)
        if key.endswith("running_mean"):
            x = 0.1 * x
        elif "prelu" in key:
            x = 0.25 + 0.05 * x
        elif key.endswith("latents"):
            x = x / math.sqrt(shape[-1])
        elif len(shape) >= 2:
            x = x / math.sqrt(math.prod(shape[1:]))
        elif key.endswith("weight"):
            x = (1 + 0.1 * x) * (0.3 if ".bn3." in key else 1.0)
        else:
            x = 0.1 * x
    return torch.from_numpy(x.astype(np.float32).reshape(tuple(shape)))


def state(shapes: Mapping[str, Sequence[int]], prefix: str) -> dict[str, Tensor]:
    """A whole state dict."""
    return {key: weight(key, shape, prefix) for key, shape in shapes.items()}


def weights(name: str, prefix: str | None = None) -> dict[str, Tensor]:
    """The weights that a recording was made with, by their official names."""
    shapes = {key[2:]: shape for key, (shape, _) in notes(name)["tensors"].items() if key.startswith("w.")}
    return state(shapes, prefix or f"{name}:")


def inputs(name: str, shape: Sequence[int]) -> Tensor:
    """The recorded input of this name."""
    stream = np.random.RandomState(zlib.crc32(f"input:{name}".encode()) & 0x7FFFFFFF)
    return torch.from_numpy(stream.standard_normal(math.prod(shape)).astype(np.float32).reshape(tuple(shape)))
