"""Tests of what is computed for injected people, and what is kept from an earlier call."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lib_uniid.attention import identity
from lib_uniid.attention.branch import Prepared
from lib_uniid.attention.identity import IdentityBranch
from lib_uniid.attention.injection import MOST_READY, injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.methods.uniportrait.plan import PlanSettings
from tests.attention.builders import (
    GUIDED,
    people,
    small_pair,
)
from tests.attention.pairs import Planned, attend_to, pair_plan, rescaled_plan
from tests.near import assert_near


def test_identity_scale_0_leaves_only_the_lora():
    silent = attend_to(pair_plan(people(1, 6), PlanSettings(id_scale=0.0)))
    assert not torch.allclose(silent, attend_to(None), atol=1e-3)
    still = attend_to(pair_plan(people(1, 6), PlanSettings(id_scale=0.0, lora_scale=0.0)))
    assert_near(still, attend_to(None))


def test_outside_of_start_and_end_no_attention_is_computed(monkeypatch: pytest.MonkeyPatch):
    plan = pair_plan([replace(people(1, 6)[0], start=0.25, end=0.75)])
    silent = attend_to(pair_plan(people(1, 6), PlanSettings(id_scale=0.0)))
    assert not torch.allclose(attend_to(plan, progress=0.5), silent, atol=1e-3)
    monkeypatch.setattr(identity, "attend", lambda *_: pytest.fail("attended"))
    for progress in (0.0, 0.75, 1.0):
        assert torch.equal(attend_to(plan, progress=progress), silent)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many image tokens each call has that a branch is prepared for."""
    made: list[int] = []
    original = IdentityBranch.prepare

    def counting(branch: IdentityBranch, state: object, query: Tensor, rows: Rows) -> Prepared:
        made.append(query.shape[1])
        return original(branch, state, query, rows)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(IdentityBranch, "prepare", counting)
    return made


def test_nothing_is_prepared_again_while_nothing_changes(monkeypatch: pytest.MonkeyPatch):
    made = counted(monkeypatch)
    pair, rows = small_pair(), Rows([Role.COND])
    with torch.no_grad(), injected(pair.sites, pair_plan(people(2, 6)), rows):
        for step in range(5):
            rows.progress = step / 5
            pair.cross_attention(torch.randn(1, 64, 8), torch.randn(1, 5, 6))
        assert made == [64]
        pair.cross_attention(torch.randn(1, 16, 8), torch.randn(1, 5, 6))
    assert made == [64, 16]


def test_nothing_is_prepared_again_where_two_kinds_of_calls_take_turns(monkeypatch: pytest.MonkeyPatch):
    """As in a host that asks for cond and uncond apart."""
    made = counted(monkeypatch)
    pair, rows = small_pair(), Rows(())
    with torch.no_grad(), injected(pair.sites, pair_plan(people(2, 6)), rows):
        for _ in range(3):
            for role in GUIDED:
                rows.roles = (role,)
                pair.cross_attention(torch.randn(1, 64, 8), torch.randn(1, 5, 6))
    assert made == [64, 64]


def test_what_is_kept_ready_is_bounded(monkeypatch: pytest.MonkeyPatch):
    made = counted(monkeypatch)
    pair = small_pair()
    with torch.no_grad(), injected(pair.sites, pair_plan(people(1, 6)), Rows([Role.COND])):
        for places in [*range(1, MOST_READY + 2), MOST_READY + 1, 1]:
            pair.cross_attention(torch.randn(1, places, 8), torch.randn(1, 5, 6))
    assert len(made) == MOST_READY + 2


@pytest.mark.parametrize(
    ("planned", "count", "bound"),
    [
        (pair_plan, 1, 2),
        (pair_plan, 2, 8),
        (pair_plan, 4, 8),
        (rescaled_plan, 1, 9),
        (rescaled_plan, 4, 15),
    ],
)
def test_a_guided_call_adds_few_operations_to_a_site(planned: Planned, count: int, bound: int):
    """Where the program is what a step waits for, their number is what people cost."""
    with_people, plain = (operations(plan) for plan in (planned(people(count, 6)), None))
    assert len(with_people) - len(plain) <= bound, with_people


class _Operations(TorchDispatchMode):
    """Operations that compute something, by name: no views, nothing that only reads shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not func.is_view:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operations(plan: Plan | None) -> list[str]:
    """Of the second call of the pair's cross-attention."""
    pair, counter = small_pair(), _Operations()
    hidden, text = torch.randn(2, 64, 8), torch.randn(2, 5, 6)
    with torch.no_grad(), injected(pair.sites, plan, Rows(GUIDED)):
        pair.cross_attention(hidden, text)
        with counter:
            pair.cross_attention(hidden, text)
    return counter.names
