"""A method of a plugin: each identity adds a little of its mean feature to every place of the picture."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib_uniid.api.v1 import SD15, Base, MethodDeclaration
from lib_uniid.attention.branch import Call, Prepared
from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.methods.method import RequestedIdentity

NAME = "Toy"


@dataclass(frozen=True, kw_only=True, eq=False)
class ToyBranch:
    """Adds one number to the rows of pictures; ``amount`` may raise."""

    amount: Callable[[], float]

    def state(self, progress: float) -> Hashable:
        return 0

    def prepare(self, state: Hashable, query: Tensor, rows: Rows) -> Prepared:
        return self._add

    def _add(self, call: Call) -> Tensor:
        added = torch.zeros_like(call.text)
        for run in call.rows.runs:
            if run.role == Role.COND:
                added[run.rows] = self.amount()
        return added


@dataclass(frozen=True, kw_only=True, eq=False)
class Toy:
    """A :class:`lib_uniid.methods.method.Method`."""

    amount: Callable[[float], float]

    def plan(
        self,
        sites: Sequence[Site],
        people: Sequence[RequestedIdentity],
        null: Callable[[], IDFeatures],
        options: PlanOptions,
    ) -> Plan | None:
        total = sum(float(one.features["intrinsic"].mean()) * one.settings.weight for one in people)
        scale = 1.0 if options.identity_scale is None else options.identity_scale
        branch = ToyBranch(amount=lambda: self.amount(scale * total))
        return Plan(branches={site.index: (branch,) for site in sites if site.cross})


class ToyPlugin:
    """Registers the method, and counts what it is told of."""

    def __init__(
        self,
        *,
        name: str = NAME,
        bases: tuple[Base, ...] = (SD15,),
        amount: Callable[[float], float] = lambda amount: 100.0 * amount + 1.0,
        **more: Any,
    ) -> None:
        self.name, self.bases, self.amount, self.more = name, bases, amount, more
        self.told: list[str] = []

    def register_methods(self, register: Callable[[MethodDeclaration], None]) -> None:
        more: dict[str, Any] = {"encoder": "CurricularFace", **self.more}
        register(MethodDeclaration(name=self.name, bases=self.bases, open=self._open, **more))

    def generation_started(self, plan: Plan) -> None:
        self.told.append("started")

    def generation_finished(self) -> None:
        self.told.append("finished")

    def identity_saved(self, identity: object) -> None:
        self.told.append("saved")

    def _open(self, folder: ModelFolder, notify: Callable[[str], None]) -> Toy:
        notify(f"loading {self.name}")
        return Toy(amount=self.amount)
