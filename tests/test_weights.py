"""Tests of reading weights."""

import gc
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from lib_uniid.weights import read_small


def test_a_small_file_is_read_whole_and_again_without_a_trace(tmp_path: Path):
    path, tensors = tmp_path / "x.safetensors", {"a": torch.randn(3, 5), "b": torch.arange(4)}
    save_file(tensors, path, {"name": "Anna"})
    read, metadata = read_small(path)
    assert metadata == {"name": "Anna"}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(200):
        read_small(path)
    gc.collect()
    assert sys.getallocatedblocks() - before < 100
