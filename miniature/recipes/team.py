"""Training on several processes: gradients averaged, everything else the same as alone.

Two single-threaded processes are faster on two CPU cores than one process with two threads.
Started with ``torchrun``; a plain ``python`` is a team of one.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Team:
    """This process among those that train together."""

    rank: int
    size: int

    @staticmethod
    def join() -> "Team":
        """Join the team that ``torchrun`` started, or be alone."""
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        if "RANK" not in os.environ:
            return Team(0, 1)
        dist.init_process_group("gloo")
        return Team(dist.get_rank(), dist.get_world_size())

    @staticmethod
    def rank_of_this_process() -> int:
        """The rank before, during and after a team."""
        return int(os.environ.get("RANK", "0"))

    def generator(self, seed: int) -> torch.Generator:
        """A stream of randomness of this process's own, fixed by the recipe's seed."""
        return torch.Generator().manual_seed(seed * 1009 + self.rank)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean gradient, in one message."""
        if self.size == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        for grad, total in zip(grads, self.sum(grads), strict=True):
            grad.copy_(total / self.size)

    def sum(self, parts: list[Tensor]) -> list[Tensor]:
        """The sum of every process's parts, in one message."""
        if self.size == 1:
            return parts
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        return [p.view_as(q) for p, q in zip(flat.split([q.numel() for q in parts]), parts, strict=True)]

    def same_weights(self, module: nn.Module) -> None:
        """Start from the first process's weights."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Until every process has come this far."""
        if self.size > 1:
            dist.barrier()

    def gather(self, tensor: Tensor) -> Tensor:
        """Every process's rows (equally many), rank by rank."""
        if self.size == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)
