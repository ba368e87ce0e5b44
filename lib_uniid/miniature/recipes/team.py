"""Training on several processes: gradients averaged, everything else the same as alone.

Two single-threaded processes are faster on two CPU cores than one process with two threads.
Started with ``torchrun``; a plain ``python`` is a team of one.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

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


@dataclass(slots=True)
class Average:
    """Exponential moving average of a module's weights: what is kept in the end."""

    module: nn.Module
    decay: float
    weights: dict[str, Tensor] = field(init=False)
    steps: int = 0

    def __post_init__(self) -> None:
        self.weights = {k: v.detach().clone() for k, v in self.module.state_dict().items()}

    def update(self) -> None:
        """Move a little towards the present weights; faster in the beginning."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for key, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.weights[key].lerp_(value, 1 - decay)
            else:
                self.weights[key].copy_(value)


@dataclass(slots=True, kw_only=True)
class Course:
    """One optimisation: AdamW with warm-up and cosine decay, clipped gradients, a log and checkpoints."""

    team: Team
    module: nn.Module
    steps: int
    rate: float
    log: Path
    parameters: list[nn.Parameter] | None = None
    warm_up: int = 100
    weight_decay: float = 0.01
    average: float = 0.995
    save_every: int = 250
    final_rate: float = 0.02
    slow: dict[str, float] = field(default_factory=dict)

    def run(self) -> Iterator["Step"]:
        """Yield one :class:`Step` at a time; resumes from the checkpoint beside the log when there is one."""
        chosen = self.parameters or [p for p in self.module.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(
            self._groups(chosen), weight_decay=self.weight_decay, betas=(0.9, 0.99), fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: self._factor(step))
        self.team.same_weights(self.module)
        ema = Average(self.module, self.average)
        checkpoint = self.log.with_suffix(".ckpt")
        first = 0
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            self.module.load_state_dict(state["module"])
            optimiser.load_state_dict(state["optimiser"])
            schedule.load_state_dict(state["schedule"])
            ema.weights, first = state["average"], state["step"]
            ema.steps = first
        began, seen = time.monotonic(), {}
        for number in range(first, self.steps):
            step = Step(number, self.steps)
            yield step
            assert step.loss is not None, "the recipe sets step.loss"
            step.loss.backward()
            self.team.average_gradients(chosen)
            nn.utils.clip_grad_norm_(chosen, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            schedule.step()
            ema.update()
            for key, value in {"loss": step.loss.detach(), **step.notes}.items():
                seen.setdefault(key, []).append(float(value))
            if self.team.rank == 0 and (number + 1) % 50 == 0:
                self._report(number + 1, began, seen)
                seen = {}
            if self.team.rank == 0 and ((number + 1) % self.save_every == 0 or number + 1 == self.steps):
                state = {
                    "module": self.module.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "average": ema.weights,
                    "step": number + 1,
                }
                partial = checkpoint.with_suffix(".part")
                torch.save(state, partial)
                partial.replace(checkpoint)
        self.module.load_state_dict(ema.weights)

    def _groups(self, chosen: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Parameters by their rate: ``slow`` maps a part of a name to a factor."""
        wanted = {id(parameter) for parameter in chosen}
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.module.named_parameters():
            if id(parameter) in wanted:
                factor = next((f for part, f in self.slow.items() if part in name), 1.0)
                groups.setdefault(factor, []).append(parameter)
        return [{"params": parameters, "lr": self.rate * factor} for factor, parameters in groups.items()]

    def _factor(self, step: int) -> float:
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        share = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    def _report(self, number: int, began: float, seen: dict[str, list[float]]) -> None:
        line = {"step": number, "seconds": round(time.monotonic() - began, 1)}
        line |= {key: round(sum(values) / len(values), 5) for key, values in seen.items()}
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        sys.stderr.write(json.dumps(line) + "\n")


@dataclass(slots=True)
class Step:
    """One step of a course: the recipe sets ``loss`` (and ``notes`` for the log)."""

    number: int
    steps: int
    loss: Tensor | None = None
    notes: dict[str, Tensor] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """How far the course is, from 0 to 1."""
        return self.number / self.steps
