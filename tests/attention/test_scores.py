"""Tests of what is done with scores before each place is given to a person."""

import pytest
import torch
from torch import Tensor

from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.scores import (
    AttentionRouter,
    attention_scores,
    balanced,
    contrast,
    in_columns,
    presence,
    resized,
    smoothed,
)
from tests.near import assert_near


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_person_s_score_is_the_logsumexp_of_the_logits_less_the_background_s():
    query, key, null = random(2, 9, 8), random(1, 2, 3, 4, 4, seed=1), random(1, 2, 4, 4, seed=2)
    for person in range(3):
        by_head = query.unflatten(-1, (2, 4)).transpose(1, 2) / 2.0
        own, background = (
            (by_head @ x.mT).exp().sum(-1).log().mean(1) for x in (key[:, :, person], null)
        )  # b n
        assert_near(attention_scores(query, key, null)[..., person], own - background)
        assert_near(attention_scores(query, key)[..., person], own)


def test_each_cond_row_is_scored_by_the_keys_of_its_own_people():
    router = AttentionRouter(key=random(3, 2, 3, 4, 4))
    last = Rows([Role.COND, Role.UNCOND, Role.COND, Role.COND]).runs[2]
    query = random(2, 9, 8)
    assert torch.equal(router.of(last)(query, query), attention_scores(query, router.key[1:]))


def test_scores_have_a_deviation_of_1_and_no_part_that_all_people_share():
    scores = 7.0 * random(2, 3, 6, 5) + random(2, 1, 6, 5)
    assert_near(contrast(scores, by_person=True), contrast(scores + 2.0 * random(2, 1, 6, 5), by_person=True))
    assert_near(contrast(scores, by_person=False).square().mean(dim=(1, 2, 3)), torch.ones(2))
    assert_near(contrast(scores, by_person=True).mean(dim=(2, 3)), torch.zeros(2, 3))
    assert_near(presence(scores).mean(), torch.zeros(()))
    for equal in (contrast(torch.ones(1, 2, 4, 4), by_person=True), presence(torch.ones(1, 2, 4, 4))):
        assert equal.isfinite().all()


def test_smoothing_keeps_what_is_flat_and_reaches_as_far_as_asked():
    assert_near(smoothed(torch.ones(1, 1, 8, 12), 0.5), torch.ones(1, 1, 8, 12))
    spot = torch.zeros(1, 1, 9, 9)
    spot[..., 4, 4] = 1.0
    assert (smoothed(spot, 0.25) > 0).sum() == 9
    assert torch.equal(smoothed(spot, 0.05), spot)


def test_columns_go_from_left_to_right():
    columns = in_columns(3, (2, 9))
    assert columns[:, 0].argmax(dim=0).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert columns.amax(dim=(1, 2)).tolist() == pytest.approx([0.0] * 3, abs=1e-6)


@pytest.mark.parametrize("people", [2, 3, 5])
def test_everybody_gets_a_share_where_one_person_is_best_everywhere(people: int):
    scores = contrast(random(2, people, 12, 12), by_person=False)
    scores[:, 0] += 9.0
    assert (scores.argmax(dim=1) == 0).all()
    chosen = balanced(scores).argmax(dim=1).flatten(1)
    shares = torch.stack([(chosen == person).float().mean(dim=1) for person in range(people)])
    assert (shares - 1 / people).abs().max() < 0.5 / people


def test_permuting_people_permutes_the_balanced_scores():
    scores, order = random(2, 3, 6, 6), [2, 0, 1]
    assert_near(balanced(scores)[:, order], balanced(scores[:, order]))


def test_resizing_a_flat_picture_keeps_it():
    for grid in ((4, 6), (8, 12), (3, 5), (16, 24)):
        assert_near(resized(torch.ones(1, 2, 8, 12), grid), torch.ones(1, 2, *grid))
