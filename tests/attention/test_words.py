"""Tests of words that belong to one person."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

from lib_uniid.attention.branch import Call
from lib_uniid.attention.context import PreparedText
from lib_uniid.attention.deciding import AS_SCORED, UNTRAINED, WITH_WORDS, Deciding
from lib_uniid.attention.growing import WAYS, Way
from lib_uniid.attention.injection import injected
from lib_uniid.attention.math import attend
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.words import EARLY, STRENGTH, OwnWords, PersonWords, WordsBranch, joined, with_words
from lib_uniid.errors import ConfigError
from lib_uniid.methods.uniportrait.plan import PlanSettings
from tests.attention import pairs
from tests.attention.builders import GUIDED, people, small_pair
from tests.attention.pairs import HALVES, drawn, pair_plan
from tests.attention.test_deciding import CONTEXT, SIZE, XL, settings
from tests.near import assert_near

PAIR = small_pair()
attend_to = partial(pairs.attend_to, progress=EARLY)
"""After the first steps, in which words count more."""

SILENT = PlanSettings(latent_size=(8, 8), id_scale=0.0, lora_scale=0.0)


def states(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of_the_pair(words: dict[int, Tensor], crowd: Any = None, how: PlanSettings = SILENT, **more: Any) -> Plan:
    plan = pair_plan(crowd or drawn(), how)
    assert plan is not None
    given = [PersonWords(person=person, states=text) for person, text in words.items()]
    return with_words(plan, PAIR.sites, given, **more)


def attention_to(text: Tensor, rows: int = 2) -> Tensor:
    """Of the pair's cross-attention, for the hidden states of ``attend_to``."""
    hidden = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(5)).expand(rows, -1, -1)
    with torch.no_grad():
        return PAIR.cross_attention(hidden, text.expand(rows, -1, -1))


def test_in_a_mask_the_words_replace_the_text_and_elsewhere_nothing_changes():
    words = states(1, 9, 6)
    out = attend_to(of_the_pair({1: words}))
    right = HALVES[1].flatten().bool()
    assert_near(out[1, right], attention_to(words)[1, right])
    assert torch.equal(out[1, ~right], attend_to(None)[1, ~right])
    assert torch.equal(out[0], attend_to(None)[0])  # the uncond row


def test_in_the_first_steps_the_words_count_more():
    plan, right = of_the_pair({1: states(1, 9, 6)}), HALVES[1].flatten().bool()
    without, early, later = (attend_to(x, progress=at) for x, at in ((None, 0.0), (plan, 0.19), (plan, 0.2)))
    assert_near((early - without)[1], STRENGTH * (later - without)[1])
    assert (later - without)[1, right].abs().max() > 0.1


def test_everybody_may_have_words():
    words = {0: states(1, 9, 6), 1: states(1, 9, 6, seed=8)}
    out = attend_to(of_the_pair(words))
    for person, text in words.items():
        half = HALVES[person].flatten().bool()
        assert_near(out[1, half], attention_to(text)[1, half])


def test_one_person_without_a_mask_has_the_words_everywhere():
    words = states(1, 9, 6)
    out = attend_to(of_the_pair({0: words}, people(1, 6)))
    assert_near(out[1], attention_to(words)[1])


@pytest.mark.parametrize("how", [AS_SCORED, UNTRAINED])
def test_with_words_people_stand_in_columns_where_scores_are_taken_as_they_are(how: Deciding):
    plan = pair_plan(people(2, 6), replace(SILENT, deciding=how))
    assert plan is not None
    with_words(plan, PAIR.sites, [PersonWords(person=0, states=states(1, 9, 6))])
    assert plan.routing is not None
    assert plan.routing.deciding == (WITH_WORDS if how == AS_SCORED else how)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rows", [1, 3])
def test_words_equal_to_the_text_change_no_bit(way: Way, rows: int):
    roles = [Role.COND] * rows
    plan = pair_plan(people(2, 6), replace(SILENT, deciding=UNTRAINED))
    assert plan is not None
    assert plan.routing is not None
    plan.routing.see()
    same = states(1, 5, 6)
    own = OwnWords(words=[PersonWords(person=i, states=same) for i in (0, 1)], routing=plan.routing, way=way)
    branch, query = WordsBranch(site=PAIR.sites[1], own=own), torch.randn(rows, 64, 8)
    with torch.no_grad():
        key, value = (
            rearrange(linear(same), "1 t (h c) -> 1 h t c", h=2)
            for linear in (PAIR.sites[1].to_k, PAIR.sites[1].to_v)
        )
        text = attend(query, key, value)
        call = Call(site=1, rows=Rows(roles), query=query, hidden=query, text=text, record=None)
        added = branch.prepare(branch.state(0.0), query, call.rows)(call)
        moved = branch.prepare(branch.state(0.0), query, call.rows)(replace(call, text=text + 1.0))
    assert not added.any()
    assert moved.any()


def test_masks_win_over_the_router_and_the_others_words_keep_out():
    crowd = [replace(people(3, 6)[0], mask=HALVES[0]), *people(3, 6)[1:]]
    plan = of_the_pair({i: states(1, 9, 6, seed=i) for i in range(3)}, crowd, way="as routed")
    out, left = attend_to(plan), HALVES[0].flatten().bool()
    assert_near(out[1, left], attention_to(states(1, 9, 6, seed=0))[1, left])
    others = torch.stack([attention_to(states(1, 9, 6, seed=i))[1] for i in (1, 2)])
    nearest = (out[1] - others).abs().amax(dim=-1).min(dim=0).values
    assert (nearest[~left] < 1e-4).all()


@pytest.mark.parametrize("how", [AS_SCORED, UNTRAINED])
def test_rows_are_independent(how: Deciding):
    """Each picture of a batch and each AND prompt grows its own places, and may have its own words."""
    xl, roles = XL(), (Role.COND,) * 2
    plan = xl.plan(2, settings(how=how))
    own = [
        PersonWords(person=0, states=states(2, 7, CONTEXT)),
        PersonWords(person=1, states=states(1, 7, CONTEXT)),
    ]
    with injected(xl.sites, with_words(plan, xl.sites, own), Rows(roles)):
        together = xl.step(2)
    parts: list[Tensor] = []
    for row in range(2):
        rows = Rows(roles[:1], before=row)
        with injected(xl.sites, with_words(plan, xl.sites, own), rows):
            parts.append(xl.step(2, only=slice(row, row + 1)))
    assert_near(torch.cat(parts), together, 1e-4)


@pytest.mark.parametrize("trained", [False, True])
def test_words_leave_the_uncond_row_and_the_routing_as_they_are(trained: bool):
    xl = XL()
    plan = xl.plan(2, settings(trained))
    own = [PersonWords(person=1, states=states(1, 7, CONTEXT))]
    with injected(xl.sites, plan, Rows(GUIDED)):
        before = xl.step()
    with injected(xl.sites, with_words(plan, xl.sites, own), Rows(GUIDED)):
        after = xl.step()
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1], atol=1e-4)
    with injected(xl.sites, plan, Rows((Role.UNCOND,))):
        alone = xl.step(only=slice(1))
    with injected(xl.sites, with_words(plan, xl.sites, own), Rows((Role.UNCOND,))):
        assert torch.equal(xl.step(only=slice(1)), alone)


@pytest.mark.parametrize("way", WAYS)
def test_words_do_not_wait_for_the_device(way: Way):
    """Reading a value back from the meta device raises."""
    xl = XL("meta")
    own = [PersonWords(person=i, states=torch.empty(1, 7, CONTEXT, device="meta")) for i in (0, 1)]
    plan = with_words(xl.plan(2, settings(how=UNTRAINED)), xl.sites, own, way)
    with injected(xl.sites, plan, Rows(GUIDED)):
        assert xl.step().shape == (2, 4, *SIZE)


@dataclass(frozen=True)
class Late:
    """A change that adds 1 to the states in the second half of the steps."""

    tokens = 0

    def state(self, progress: float) -> Hashable:
        return True if progress >= 0.5 else None

    def prepare(self, state: Hashable, text: Tensor, rows: Rows) -> PreparedText:
        assert rows.roles == (Role.COND,)
        return lambda text, rows: text + 1.0


def test_identity_tokens_are_put_among_a_person_s_words():
    plan, words = pair_plan(drawn(), SILENT), states(1, 9, 6)
    assert plan is not None
    changed = with_words(plan, PAIR.sites, [PersonWords(person=1, states=words, changes=[Late()])])
    right = HALVES[1].flatten().bool()
    for progress, expected in ((0.4, words), (0.5, words + 1.0)):
        out = attend_to(changed, progress=progress)
        assert_near(out[1, right], attention_to(expected)[1, right])


def test_a_lora_of_the_host_counts_for_words_too():
    pair, words = small_pair(), states(1, 9, 6)
    with torch.no_grad():
        pair.sites[1].to_v.weight.mul_(3.0)
        hidden = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(5))
        expected = pair.cross_attention(hidden, words)
    plan = with_words(_planned(), pair.sites, [PersonWords(person=1, states=words)])
    right = HALVES[1].flatten().bool()
    assert_near(attend_to(plan, pair=pair)[1, right], expected[0, right])


def _planned() -> Plan:
    plan = pair_plan(drawn(), SILENT)
    assert plan is not None
    return plan


def test_a_plan_that_does_not_place_people_is_refused():
    with pytest.raises(ConfigError, match="does not say where each person is"):
        with_words(Plan(branches={}), PAIR.sites, [PersonWords(person=0, states=states(1, 9, 6))])


def test_own_words_come_at_the_end_of_the_prompt():
    assert joined("two people, ", " red coat") == "two people, red coat"
    assert joined("", "red coat") == "red coat"
