"""Muon: the same step on one process and on several, in the direction of the gradient."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from miniature.recipes.muon import Muon, matrices, orthogonal
from miniature.recipes.team import Team


@pytest.mark.parametrize("shape", [(64, 576), (512, 64), (64, 64)])
def test_orthogonal_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    """The iteration is meant to land between 0.7 and 1.2; the smallest of a square matrix may lag behind."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.max() < 1.3
    assert values.median() > 0.6
    assert (orthogonal(matrix) * matrix).sum() > 0


def test_only_layers_with_two_wide_sides_are_matrices() -> None:
    """Embeddings, norms, biases and an output of four channels go by AdamW."""
    parts = nn.ModuleList(
        [
            nn.Linear(16, 16),
            nn.Conv2d(8, 4, 3),
            nn.Embedding(100, 16),
            nn.GroupNorm(2, 16),
            nn.Conv2d(4, 16, 3),
        ]
    )
    assert matrices(parts) == {id(parts[0].weight), id(parts[4].weight)}


def _steps(team: Team) -> list[torch.Tensor]:
    torch.manual_seed(5)
    weights = [nn.Linear(8, 24).weight, nn.Conv2d(24, 8, 3).weight, nn.Linear(9, 9).weight]
    muon = Muon([{"params": weights, "lr": 0.01}], team)
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        muon.step()
    return [weight.detach() for weight in weights]


def _one_of_two(rank: int, out: Path) -> None:
    meeting = (out / "meeting").as_uri()  # a file: a port that is free now may be taken when they meet
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    torch.save(_steps(Team(rank, 2)), out / f"{rank}.pt")
    dist.barrier()
    # A thread of gloo that wants the interpreter while it shuts down aborts the process.
    os._exit(0)


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(tmp_path: Path) -> None:
    """Shared work is the same work."""
    mp.spawn(_one_of_two, (tmp_path,), nprocs=2)
    alone = _steps(Team(0, 1))
    for rank in (0, 1):
        for mine, theirs in zip(alone, torch.load(tmp_path / f"{rank}.pt", weights_only=True), strict=True):
            assert torch.equal(mine, theirs)
