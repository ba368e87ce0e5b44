"""One optimisation of a recipe: optimisers, learning rate, average, log and checkpoints."""

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from miniature.recipes.muon import Muon, matrices
from miniature.recipes.team import Team


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
    """One optimisation: warm-up and cosine decay, clipped gradients, a log and checkpoints.

    AdamW; with ``muon`` the matrices go by :class:`.muon.Muon` at the same rate.
    """

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
    muon: bool = False

    def run(self) -> Iterator["Step"]:
        """Yield one :class:`Step` at a time; resumes from the checkpoint beside the log when there is one."""
        chosen = self.parameters or [p for p in self.module.parameters() if p.requires_grad]
        optimisers = self._optimisers(chosen)
        schedules = [
            torch.optim.lr_scheduler.LambdaLR(one, lambda step: self._factor(step)) for one in optimisers
        ]
        self.team.same_weights(self.module)
        ema = Average(self.module, self.average)
        checkpoint = self.log.with_suffix(".ckpt")
        first = 0
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            self.module.load_state_dict(state["module"])
            for one, its in zip(optimisers, state["optimisers"], strict=True):
                one.load_state_dict(its)
            for one, its in zip(schedules, state["schedules"], strict=True):
                one.load_state_dict(its)
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
            for optimiser, schedule in zip(optimisers, schedules, strict=True):
                optimiser.step()
                schedule.step()
            self.module.zero_grad(set_to_none=True)
            ema.update()
            for key, value in {"loss": step.loss.detach(), **step.notes}.items():
                seen.setdefault(key, []).append(float(value))
            if self.team.rank == 0 and (number + 1) % 50 == 0:
                self._report(number + 1, began, seen)
                seen = {}
            if self.team.rank == 0 and ((number + 1) % self.save_every == 0 or number + 1 == self.steps):
                state = {
                    "module": self.module.state_dict(),
                    "optimisers": [one.state_dict() for one in optimisers],
                    "schedules": [one.state_dict() for one in schedules],
                    "average": ema.weights,
                    "step": number + 1,
                }
                partial = checkpoint.with_suffix(".part")
                torch.save(state, partial)
                partial.replace(checkpoint)
        self.module.load_state_dict(ema.weights)

    def _optimisers(self, chosen: list[nn.Parameter]) -> list[torch.optim.Optimizer]:
        turned = matrices(self.module) if self.muon else set[int]()
        parts = [p for p in chosen if id(p) in turned], [p for p in chosen if id(p) not in turned]
        optimisers: list[torch.optim.Optimizer] = []
        if parts[0]:
            optimisers.append(Muon(self._groups(parts[0]), self.team, weight_decay=self.weight_decay))
        if parts[1]:
            rest = self._groups(parts[1])
            optimisers.append(
                torch.optim.AdamW(rest, weight_decay=self.weight_decay, betas=(0.9, 0.99), fused=True)
            )
        return optimisers

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
