"""Tests of reading weights."""

import gc
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_uniid.attention.lora import LoRA
from lib_uniid.weights import read_small, without_values


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


def test_modules_without_values_draw_no_random_numbers_and_modules_after_them_do(
    monkeypatch: pytest.MonkeyPatch,
):
    drawn: list[str] = []
    for name in ("normal_", "uniform_"):

        def draw(tensor: Tensor, *_: object, name: str = name, **__: object) -> Tensor:
            drawn.append(name)
            return tensor

        monkeypatch.setattr(Tensor, name, draw)
    with without_values():
        lora = LoRA(3, 5, 2)
    assert all(parameter.is_meta for parameter in lora.parameters())
    assert drawn == []
    LoRA(3, 5, 2)
    assert "normal_" in drawn
