"""Tests of the assignment of image tokens to people."""

import pytest
import torch
from torch import Tensor

from lib_uniid.attention.routing import RoutingRule, left_over, routing_rule
from lib_uniid.errors import ConfigError

LEFT, RIGHT, TOP = torch.zeros(3, 8, 8).unbind()
LEFT[:, :4], RIGHT[:, 4:], TOP[:2] = 1.0, 1.0, 1.0
SIZE = (8, 8)


def logits(people: int) -> Tensor:
    return torch.randn(2, 64, people, generator=torch.Generator().manual_seed(0))


def fixed_map(rule: RoutingRule, tokens: int = 64) -> Tensor:
    """The fixed part of a rule that must have one."""
    fixed = rule.fixed_at(tokens)
    assert fixed is not None
    return fixed


def test_one_person_is_everywhere_unless_drawn():
    rule = routing_rule([None], "auto", None)
    assert rule.fixed is None
    assert rule.learned == ()
    drawn = fixed_map(routing_rule([LEFT], "auto", SIZE))
    assert torch.equal(drawn[:, 0].unflatten(0, SIZE), LEFT)


def test_permuting_people_permutes_the_routing():
    rule, order = routing_rule([None] * 3, "auto", None), [2, 0, 1]
    one, other = rule.complete(logits(3), None, None), rule.complete(logits(3)[..., order], None, None)
    assert torch.equal(one[..., order], other)


def test_masks_leave_the_router_nothing_to_say():
    rule = routing_rule([LEFT, RIGHT], "auto", SIZE)
    assert rule.learned == ()
    assert torch.equal(fixed_map(rule), torch.stack([LEFT.flatten(), RIGHT.flatten()], dim=-1))


def test_the_only_one_without_a_mask_has_the_rest_of_the_picture():
    rule = routing_rule([TOP, None], "auto", SIZE)
    assert rule.learned == ()
    assert torch.equal(fixed_map(rule)[:, 1], 1.0 - TOP.flatten())


def test_several_without_a_mask_share_the_rest_by_the_router():
    rule = routing_rule([None, TOP, None], "auto", SIZE)
    fixed = fixed_map(rule)[None]
    routing = rule.complete(logits(3), fixed, rule.bar(fixed))
    torch.testing.assert_close(routing.sum(dim=-1), torch.ones(2, 64))
    assert torch.equal(routing[..., 1], TOP.flatten().expand(2, 64))
    rest = TOP.flatten() == 0
    assert torch.equal(routing[:, rest][..., [0, 2]].argmax(-1), logits(3)[:, rest][..., [0, 2]].argmax(-1))


def test_routing_off_gives_all_people_equal_shares_with_or_without_masks():
    rule = routing_rule([LEFT, None], "off", None)
    assert rule.learned == ()
    assert fixed_map(rule).tolist() == [[0.5, 0.5]]


def test_without_the_router_its_share_is_spread_evenly():
    assert routing_rule([None] * 4, "auto", None).mean_at(64).tolist() == [[0.25] * 4]
    assert routing_rule([None], "auto", None).mean_at(64).tolist() == [[1.0]]
    mean = routing_rule([None, TOP, None], "auto", SIZE).mean_at(64)
    assert mean[0].tolist() == [0.0, 1.0, 0.0]
    assert mean[-1].tolist() == [0.5, 0.0, 0.5]


def test_a_rule_for_masks_has_a_map_for_every_level_of_the_unet():
    rule = routing_rule([LEFT, RIGHT], "mask", (16, 12))
    for tokens in (16 * 12, 8 * 6, 4 * 3, 2 * 2):
        assert fixed_map(rule, tokens).shape == (tokens, 2)
        assert torch.allclose(left_over(fixed_map(rule, tokens)), torch.zeros(tokens, 1), atol=1e-6)


def test_masks_and_settings_must_go_together():
    with pytest.raises(ConfigError, match="person 2 has none"):
        routing_rule([LEFT, None], "mask", SIZE)
    with pytest.raises(ConfigError, match="latent size"):
        routing_rule([LEFT, RIGHT], "auto", None)
    with pytest.raises(ConfigError, match="100 image tokens"):
        routing_rule([LEFT, RIGHT], "auto", SIZE).fixed_at(100)
