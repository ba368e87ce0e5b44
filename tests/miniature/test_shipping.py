"""Laws of what ships: each weights file once, within a budget, and training goes on from it."""

import hashlib
import subprocess
from collections import Counter
from pathlib import Path

import torch

from miniature.recipes.base import new_base
from miniature.recipes.kept import kept_result, kept_results

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 70_000_000
"""Bytes of all weights; CONTRIBUTING names the number."""


def shipped() -> list[Path]:
    """Every weights file that git tracks."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "*.safetensors", "*.onnx", "*.pt", "*.bin"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_what_ships_stays_within_the_budget_that_contributors_read():
    assert sum(path.stat().st_size for path in shipped()) <= BUDGET
    assert f"{BUDGET // 10**6} MB of weights" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_no_weights_file_ships_twice():
    digests = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in shipped())
    assert max(digests.values()) == 1


def test_training_finds_every_kept_result_though_each_ships_once():
    assert {"base", "clip", "curricularface", "meters"} <= set(kept_results())
    base = kept_result("base")
    assert base is not None
    new_base().load_state_dict(base)
    assert all(tensor.dtype in (torch.float16, torch.int64) for tensor in base.values())
