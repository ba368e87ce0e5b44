"""One optimisation on one device: recorded steps, Muon and AdamW, an average of the weights, a log."""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from miniature.recipes.muon import NARROWEST

Batch = dict[str, Tensor]
Loss = Callable[[Batch], Mapping[str, Tensor]]
"""The figures of a batch; ``loss`` is what is made smaller."""

lists: Any = torch
"""torch's operations on lists of tensors have no public names."""

MEASURED = 20
"""Steps after which the time of one is known."""


class Muon(torch.optim.Optimizer):
    """:class:`miniature.recipes.muon.Muon` for one device: all matrices of one shape at once."""

    def __init__(self, parameters: list[nn.Parameter], *, lr: float, weight_decay: float = 0.01) -> None:
        groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for parameter in parameters:
            groups.setdefault((parameter.shape[0], parameter[0].numel()), []).append(parameter)
        super().__init__(
            [{"params": group} for group in groups.values()], {"lr": lr, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix."""
        for group in self.param_groups:
            weights: list[Tensor] = group["params"]
            grads = torch.stack([grad for weight in weights if (grad := weight.grad) is not None])
            momenta = self.state[weights[0]].setdefault("momenta", torch.zeros_like(grads))
            momenta.lerp_(grads, 0.05)
            ahead = grads.lerp(momenta, 0.95).flatten(2)
            rows, columns = ahead.shape[1:]
            size = -0.2 * group["lr"] * max(rows, columns) ** 0.5
            moves = (orthogonal(ahead) * size).unbind()
            lists._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            lists._foreach_add_(weights, [m.view_as(w) for m, w in zip(moves, weights, strict=True)])


def orthogonal(matrices: Tensor, rounds: int = 5) -> Tensor:
    """``[m r c]`` with all singular values brought near 1, by Newton-Schulz iteration."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    kind = torch.bfloat16 if x.is_cuda else torch.float32
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(kind)
    for _ in range(rounds):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if tall else x).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A part of the weights, by a regular expression for the beginning of their names, and its rate."""

    part: str
    rate: float


@dataclass(slots=True, kw_only=True)
class Course:
    """Warm-up and cosine decay over ``seconds`` of training, or over ``steps`` where they are given.

    Matrices go by Muon, the rest by AdamW at ``rest`` times their rate. Weights of no part stay. ``keep`` is
    given the averaged weights after ``every`` seconds.
    """

    module: nn.Module
    rates: list[Rate]
    loss: Loss
    batches: Iterator[Batch]
    log: Path
    name: str
    seconds: float
    steps: int | None = None
    rest: float = 0.6
    average: float = 0.997
    warm_up: int = 100
    keep: Callable[[dict[str, Tensor]], None] | None = None
    every: float = 300.0
    chosen: list[nn.Parameter] = field(init=False)

    def run(self) -> None:
        """Train; the module has the averaged weights in the end."""
        self.module.requires_grad_(False)
        optimisers = self._optimisers()
        for weight in self.chosen:
            weight.requires_grad_(True)
        recorded = Recorded(self.loss, self.chosen, next(self.batches))
        tracked = [t for t in self.module.state_dict().values() if t.is_floating_point()]
        means = [t.detach().clone() for t in tracked]
        base_rates = [[group["lr"] for group in one.param_groups] for one in optimisers]
        total, began, seen = self.steps, time.monotonic(), []
        kept = began
        step = 0
        while total is None or step < total:
            if step == MEASURED:
                _wait(self.chosen[0])
                began = time.monotonic()
            if total is None and step == 2 * MEASURED:
                _wait(self.chosen[0])
                each = (time.monotonic() - began) / MEASURED
                total = max(step + 1, int(self.seconds / each))
                sys.stderr.write(f"{self.name}: {total} steps of {each * 1000:.1f} ms\n")
            factor = _factor(step, total or 10**6, self.warm_up)
            for one, rates in zip(optimisers, base_rates, strict=True):
                for group, rate in zip(one.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
            figures = recorded(next(self.batches))
            nn.utils.clip_grad_norm_(self.chosen, 1.0, foreach=True)
            for one in optimisers:
                one.step()
            decay = min(self.average, (1 + step) / (10 + step))
            with torch.no_grad():
                lists._foreach_lerp_(means, tracked, 1 - decay)
            step += 1
            seen.append(torch.stack([value.detach().float() for value in figures.values()]))
            if step % 100 == 0 or step == total:
                mean = torch.stack(seen).mean(0).tolist()
                self._report(step, began, dict(zip(figures, mean, strict=True)))
                seen = []
                total, kept = self._planned(step, total, began), self._kept(means, kept)
        with torch.no_grad():
            lists._foreach_copy_(tracked, means)
        for weight in self.chosen:
            weight.grad = None
        self.module.requires_grad_(False)

    def _planned(self, step: int, total: int | None, began: float) -> int | None:
        """All steps, at the speed so far: a machine may have other work, too."""
        if self.steps is not None or total is None or step >= total:
            return total
        elapsed = time.monotonic() - began
        return max(step + 1, step + int((self.seconds - elapsed) / elapsed * (step - MEASURED)))

    def _kept(self, means: list[Tensor], last: float) -> float:
        """Hand over the averaged weights where it is time; returns when that was done."""
        if self.keep is None or time.monotonic() - last < self.every:
            return last
        state = self.module.state_dict()
        names = [name for name, tensor in state.items() if tensor.is_floating_point()]
        self.keep(dict(zip(names, means, strict=True)))
        return time.monotonic()

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        inner = {
            id(layer.weight)
            for layer in self.module.modules()
            if isinstance(layer, nn.Linear | nn.Conv2d)
            and min(layer.weight.shape[0], layer.weight[0].numel()) >= NARROWEST
        }
        self.chosen, optimisers = [], list[torch.optim.Optimizer]()
        taken: set[int] = set()
        for one in self.rates:
            mine = [
                p for n, p in self.module.named_parameters() if re.match(one.part, n) and id(p) not in taken
            ]
            taken |= {id(p) for p in mine}
            self.chosen += mine
            if matrices := [p for p in mine if id(p) in inner]:
                optimisers.append(Muon(matrices, lr=one.rate))
            if others := [p for p in mine if id(p) not in inner]:
                optimisers.append(
                    torch.optim.AdamW(
                        others, lr=one.rate * self.rest, betas=(0.9, 0.99), weight_decay=0.01, fused=True
                    )
                )
        return optimisers

    def _report(self, step: int, began: float, figures: dict[str, float]) -> None:
        line: dict[str, Any] = {
            "course": self.name,
            "step": step,
            "seconds": round(time.monotonic() - began, 1),
        }
        line |= {name: round(value, 5) for name, value in figures.items()}
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        sys.stderr.write(json.dumps(line) + "\n")


class Recorded:
    """Forward and backward of one step, recorded as a CUDA graph where there is one."""

    def __init__(self, loss: Loss, weights: list[nn.Parameter], example: Batch) -> None:
        self.loss, self.weights = loss, weights
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        self.batch = {name: value.clone() for name, value in example.items()}
        self.graph: torch.cuda.CUDAGraph | None = None
        if not weights[0].is_cuda:
            return
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.figures = self._step()
        self.graph = graph

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """The figures of a batch; gradients are in the weights afterwards."""
        for name, value in batch.items():
            self.batch[name].copy_(value)
        if self.graph is None:
            return self._step()
        self.graph.replay()
        return {name: value.clone() for name, value in self.figures.items()}

    def _step(self) -> Mapping[str, Tensor]:
        lists._foreach_zero_([weight.grad for weight in self.weights])
        with torch.autocast(
            self.weights[0].device.type,
            torch.bfloat16,
            enabled=self.weights[0].is_cuda,
            cache_enabled=False,
        ):
            figures = self.loss(self.batch)
        figures["loss"].backward()
        return {name: value.detach() for name, value in figures.items()}


def _factor(step: int, total: int, warm_up: int) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    share = (step - warm_up) / max(1, total - warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()
