"""What a small pair of layers computes with people in it, for tests that need no UNet."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from tests.attention.builders import (
    GUIDED,
    Pair,
    null_tokens,
    people,
    random_adapter,
    small_pair,
)

Planned = Callable[[list[PlannedIdentity]], Plan | None]
HALVES = torch.zeros(2, 8, 8)
HALVES[0, :, :4], HALVES[1, :, 4:] = 1.0, 1.0


def pair_plan(
    crowd: list[PlannedIdentity], settings: PlanSettings | None = None, router: bool = True
) -> Plan | None:
    pair = small_pair()
    with torch.no_grad():
        return build(random_adapter(pair.sites, router=router), pair.sites, crowd, null_tokens(6), settings)


def rescaled_plan(crowd: list[PlannedIdentity], **settings: Any) -> Plan | None:
    """At an identity scale of 1, on weights without LoRA."""
    return pair_plan(crowd, PlanSettings(rescaled=True, id_scale=1.0, lora_scale=0.0, **settings))


def attend_to(
    plan: Plan | None,
    roles: tuple[Role, ...] = GUIDED,
    *,
    progress: float = 0.0,
    record: RoutingRecord | None = None,
    pair: Pair | None = None,
) -> Tensor:
    pair = pair or small_pair()
    generator = torch.Generator().manual_seed(5)
    hidden, text = torch.randn(1, 64, 8, generator=generator), torch.randn(1, 5, 6, generator=generator)
    with torch.no_grad(), injected(pair.sites, plan, Rows(roles, progress), record=record):
        return pair.cross_attention(hidden.expand(len(roles), -1, -1), text.expand(len(roles), -1, -1))


def drawn(masks: Tensor = HALVES) -> list[PlannedIdentity]:
    return [replace(person, mask=mask) for person, mask in zip(people(2, 6), masks, strict=True)]
