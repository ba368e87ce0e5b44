"""A plugin's method that plans or adds a wrong value is named and switched off."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_uniid.api import v1
from lib_uniid.attention.branch import Branch, Call
from lib_uniid.attention.lora import LoRA
from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.config import PersonSettings
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import PluginError
from lib_uniid.identity_pipeline import IdentityPipeline
from lib_uniid.library.store import Identity
from lib_uniid.methods.registry import methods
from lib_uniid.runtime import Runtime
from tests.attention.builders import narrow_unet
from tests.methods.toy import NAME, ToyPlugin

OFF = "the plugin odd is switched off until restart: "
OPTIONS = PlanOptions(identity_scale=1.0, routing="auto", latent_size=(8, 8))
ROWS = Rows((Role.COND,))
TEXT = torch.zeros(1, 4, 8)
ANNA = Identity(
    name="Anna",
    features={
        "CurricularFace": IDFeatures(tensors={"intrinsic": torch.ones(2, 3)}, fingerprint="p", references=1)
    },
    embedding=np.ones(4, np.float32),
)


pytestmark = pytest.mark.usefixtures("own_plugins")


@pytest.fixture(scope="module")
def sites() -> tuple[Site, ...]:
    return find_sites(narrow_unet())


@pytest.fixture
def plan_of(models: Path, sites: tuple[Site, ...]) -> Callable[[Any], Plan | None]:
    """Registers a method with this plan, and plans with it."""

    def planned(plan: Any) -> Plan | None:
        toy = ToyPlugin()
        toy._open = lambda *_: SimpleNamespace(plan=lambda *_: plan)  # pyright: ignore
        v1.register(toy, name="odd")
        person = PersonSettings(name="Anna")
        return IdentityPipeline(Runtime(models)).plan_for(sites, [person], {"Anna": ANNA}, OPTIONS, NAME)

    return planned


def branch(
    state: Callable[..., Any] = lambda _: 0,
    prepare: Callable[..., Any] | None = None,
    add: Callable[[Call], Any] = lambda call: call.text,
) -> Any:
    return SimpleNamespace(state=state, prepare=prepare or (lambda *_: add), tokens=0)


def unchecked(**values: Any) -> Plan:
    """A plan with these values, unchecked, as without jaxtyping."""
    plan = Plan(branches={})
    for name, value in values.items():
        object.__setattr__(plan, name, value)
    return plan


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (3, "TypeError: int instead of Plan"),
        (unchecked(branches=3), "AttributeError: 'int' object has no attribute 'items'"),
        (unchecked(branches={1: 3}), "TypeError: 'int' object is not iterable"),
        (unchecked(branches={1: (3,)}), "TypeError: int instead of Branch"),
        (unchecked(context=(3,)), "TypeError: int instead of TextChange"),
        (unchecked(merges={1: {"to_q": 3}}), "TypeError: int instead of LoRA"),
        (unchecked(merges={1: {"to_x": LoRA(32, 32, 1)}}), "KeyError: 'to_x'"),
        (
            unchecked(merges={1: {"to_q": LoRA(32, 31, 1)}}),
            "ValueError: a LoRA of 32 to 31 channels for to_q",
        ),
    ],
)
def test_a_method_whose_plan_does_not_fit_is_named_and_switched_off(
    plan_of: Callable[[Any], Plan | None], plan: object, reason: str
):
    with pytest.raises(PluginError) as raised:
        plan_of(plan)
    assert str(raised.value).startswith(f"{OFF}planning with {NAME} raised {reason}")
    assert NAME not in methods()


def test_a_method_may_plan_nothing(plan_of: Callable[[Any], Plan | None]):
    assert plan_of(None) is None
    assert NAME in methods()


def called(plan: Plan | None) -> Tensor:
    assert plan is not None
    one: Branch = plan.branches[1][0]
    call = Call(site=1, rows=ROWS, query=TEXT, hidden=TEXT, text=TEXT, record=None)
    return one.prepare(one.state(0.0), TEXT, ROWS)(call)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (branch(state=lambda _: [0]), "TypeError: unhashable type"),
        (branch(prepare=lambda *_: 3), "TypeError: int instead of Prepared"),
        (branch(add=lambda _: None), "TypeError: NoneType instead of Tensor"),
        (branch(add=lambda _: TEXT[0]), "ValueError: (4, 8) on cpu instead of (1, 4, 8) on cpu"),
        (branch(add=lambda _: TEXT.to("meta")), "ValueError: (1, 4, 8) on meta instead of (1, 4, 8) on cpu"),
    ],
)
def test_a_branch_that_adds_what_cannot_be_added_is_named_and_switched_off(
    plan_of: Callable[[Any], Plan | None], odd: Any, reason: str
):
    plan = plan_of(Plan(branches={1: (odd,)}))
    with pytest.raises(PluginError) as raised:
        called(plan)
    assert str(raised.value).startswith(f"{OFF}injecting identities raised {reason}")
    assert NAME not in methods()


def test_what_a_branch_adds_in_another_precision_is_converted(plan_of: Callable[[Any], Plan | None]):
    plan = plan_of(Plan(branches={1: (branch(add=lambda _: TEXT.double()),)}))
    assert called(plan).dtype == TEXT.dtype


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (branch(state=lambda _: [0]), "TypeError: unhashable type"),
        (branch(prepare=lambda *_: 3), "TypeError: int instead of PreparedText"),
        (branch(prepare=lambda *_: lambda *_: None), "TypeError: NoneType instead of Tensor"),
        (branch(prepare=lambda *_: lambda *_: TEXT[0]), "ValueError: (4, 8) on cpu instead of (1, 4, 8)"),
    ],
)
def test_a_change_of_the_text_that_does_not_fit_is_named_and_switched_off(
    plan_of: Callable[[Any], Plan | None], odd: Any, reason: str
):
    plan = plan_of(Plan(branches={}, context=(odd,)))
    assert plan is not None
    (change,) = plan.context
    with pytest.raises(PluginError) as raised:
        change.prepare(change.state(0.0), TEXT, ROWS)(TEXT, ROWS)
    assert str(raised.value).startswith(f"{OFF}injecting identities raised {reason}")
    assert NAME not in methods()
