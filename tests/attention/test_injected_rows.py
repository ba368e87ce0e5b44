"""Tests of the rows of a batch with injected people: their order, their roles, their people."""

from dataclasses import replace

import pytest
import torch

from lib_uniid.attention import identity
from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.rows import Role
from lib_uniid.errors import ConfigError
from lib_uniid.methods.uniportrait.plan import build
from tests.attention.builders import (
    GUIDED,
    people,
    random_adapter,
    small_pair,
)
from tests.attention.pairs import Planned, attend_to, pair_plan, rescaled_plan
from tests.near import assert_near


def test_rows_may_come_in_any_order():
    plan = pair_plan(people(2, 6))
    uncond, cond = attend_to(plan)
    roles = (Role.COND, Role.COND, Role.UNTOUCHED, Role.UNCOND, Role.COND)
    out = attend_to(plan, roles)
    for row, expected in ((0, cond), (1, cond), (3, uncond), (4, cond)):
        assert_near(out[row], expected)
    assert not torch.allclose(out[2], uncond, atol=1e-3)


def test_split_calls_equal_one_call():
    plan = pair_plan(people(2, 6))
    split = [attend_to(plan, (role,))[0] for role in GUIDED]
    assert_near(torch.stack(split), attend_to(plan))


def test_uncond_rows_do_not_depend_on_who_is_there():
    crowd = people(4, 6)
    out = [attend_to(pair_plan(who))[0] for who in (crowd[:2], crowd[2:], [*crowd, crowd[0]])]
    assert_near(out[0], out[1])
    assert_near(out[0], out[2])


def test_uncond_rows_without_uncond_tokens_are_refused():
    pair = small_pair()
    plan = build(random_adapter(pair.sites), pair.sites, people(1, 6), None)
    attend_to(plan, (Role.COND,))
    with pytest.raises(ConfigError, match="no uncond tokens"):
        attend_to(plan)


def test_tokens_per_row_equal_shared_tokens_when_rows_repeat():
    roles = (Role.COND, Role.UNCOND, Role.COND)
    crowd = people(2, 6)
    repeated = [replace(person, tokens=person.tokens.expand(2, -1, -1)) for person in crowd]
    assert_near(attend_to(pair_plan(repeated), roles), attend_to(pair_plan(crowd), roles))


def test_each_row_may_have_people_of_its_own():
    both = people(1, 6, rows=(2,))
    alone = [attend_to(pair_plan([PlannedIdentity(tokens=x)]), (Role.COND,))[0] for x in both[0].tokens]
    assert_near(attend_to(pair_plan(both), (Role.COND,) * 2), torch.stack(alone))


@pytest.mark.parametrize("planned", [pair_plan, rescaled_plan])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "roles",
    [GUIDED, GUIDED[::-1], (Role.UNCOND,), (Role.COND,), (Role.COND, Role.COND, Role.UNCOND, Role.UNCOND)],
)
def test_rows_attended_to_together_are_as_those_attended_to_apart(
    count: int, roles: tuple[Role, ...], planned: Planned, monkeypatch: pytest.MonkeyPatch
):
    crowd = [replace(one, weight=0.5 * i + 0.5) for i, one in enumerate(people(count, 6))]
    plan, records = planned(crowd), (RoutingRecord(), RoutingRecord())
    assert plan is not None
    together = attend_to(plan, roles, record=records[0])
    monkeypatch.setattr(identity.AllAtOnce, "of", lambda *_: None)
    assert_near(together, attend_to(plan, roles, record=records[1]))
    for index, routing in records[1].maps.items():
        assert torch.equal(records[0].maps[index], routing)
    assert records[0].maps.keys() == records[1].maps.keys()


def test_each_cond_row_may_have_people_of_its_own_where_rows_are_attended_to_together(
    monkeypatch: pytest.MonkeyPatch,
):
    plan, roles = pair_plan(people(2, 6, rows=(2,))), (Role.UNCOND, Role.COND, Role.COND)
    together = attend_to(plan, roles)
    assert not torch.allclose(together[1], together[2], atol=1e-3)
    monkeypatch.setattr(identity.AllAtOnce, "of", lambda *_: None)
    assert_near(together, attend_to(plan, roles))
