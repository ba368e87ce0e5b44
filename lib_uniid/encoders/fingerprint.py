"""Fingerprints of networks: they tell encoders apart."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

_SAMPLE = 4096  # elements of each tensor that enter a fingerprint


def fingerprint_of(tensors: Mapping[str, tuple[Tensor, ...]]) -> str:
    """A hash of weights, twelve hex digits; the parts of a tensor are joined.

    It covers names, shapes and an even sample of every tensor in half precision: a half-precision copy of the
    same weights has the same fingerprint, and only a part of the 632 million parameters is hashed.
    """
    digest = hashlib.sha256()
    for key, parts in sorted(tensors.items()):
        tensor = next(iter(parts)) if len(parts) == 1 else torch.cat(parts)
        step = max(1, tensor.numel() // _SAMPLE)
        digest.update(json.dumps([key, *tensor.shape]).encode())
        digest.update(tensor.detach().flatten()[::step].to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:12]
