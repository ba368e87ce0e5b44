"""Tests of the pure functions."""

import pytest
import torch
from torch import Tensor

from lib_uniid.attention.math import (
    attend,
    chosen_attention,
    grids,
    resize_masks,
    route,
    routed_attention,
)
from lib_uniid.errors import ConfigError
from tests.near import assert_near

ROWS, HEADS, PEOPLE, TOKENS, CHANNELS, PLACES = 2, 3, 4, 5, 8, 21


@pytest.fixture
def query() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(ROWS, PLACES, HEADS * CHANNELS)


@pytest.fixture
def kv() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    key, value = torch.randn(2, 1, HEADS, PEOPLE, TOKENS, CHANNELS).unbind()
    return key, value


def one_hot() -> Tensor:
    return route(torch.randn(ROWS, PLACES, PEOPLE, generator=torch.Generator().manual_seed(2)))


def test_attention_is_torch_s_own_whatever_replaces_its_function(
    query: Tensor, kv: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
):
    key, value = (one[:, :, 0] for one in kv)
    expected = attend(query, key, value)
    nothing = torch.zeros_like(key)
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, *_, **__: q.new_full(q.shape, torch.nan),
    )
    assert torch.equal(attend(query, key, value), expected)
    even = value.mean(dim=2).flatten(1)[:, None]
    assert_near(attend(query, nothing, value), even.expand(ROWS, PLACES, -1))  # zero keys: the mean of all


def test_routed_attention_is_the_weighted_sum_over_people(query: Tensor, kv: tuple[Tensor, Tensor]):
    routing = torch.rand(ROWS, PLACES, PEOPLE)
    key, value = kv
    alone = [attend(query, key[:, :, i], value[:, :, i]) * routing[..., i : i + 1] for i in range(PEOPLE)]
    assert_near(routed_attention(query, key, value, routing), torch.stack(alone).sum(dim=0))


def test_chosen_attention_is_routed_attention_with_a_one_hot_map(query: Tensor, kv: tuple[Tensor, Tensor]):
    routing = one_hot()
    chosen = chosen_attention(query, *kv, routing)
    assert_near(chosen, routed_attention(query, *kv, routing))


def test_a_token_without_an_identity_gets_nothing(query: Tensor, kv: tuple[Tensor, Tensor]):
    routing = one_hot()
    routing[:, 3] = 0.0
    out = routed_attention(query, *kv, routing)
    assert not out[:, 3].any()
    assert out[:, 4].all()


def test_one_map_for_all_rows_and_places_may_be_given_once(query: Tensor, kv: tuple[Tensor, Tensor]):
    even = torch.full((1, 1, PEOPLE), 1 / PEOPLE)
    everywhere = routed_attention(query, *kv, even.expand(ROWS, PLACES, PEOPLE))
    assert_near(routed_attention(query, *kv, even), everywhere)


def test_keys_per_row_equal_shared_keys_when_rows_repeat(query: Tensor, kv: tuple[Tensor, Tensor]):
    routing = one_hot()
    key, value = (x.expand(ROWS, -1, -1, -1, -1) for x in kv)
    for form in (chosen_attention, routed_attention):
        assert_near(form(query, key, value, routing), form(query, *kv, routing))


def test_a_soft_map_passes_gradients_to_the_map_and_to_keys_and_values(
    query: Tensor, kv: tuple[Tensor, Tensor]
):
    inputs = (query, *kv, torch.rand(ROWS, PLACES, PEOPLE))
    q, k, v, routing = leaves = [x.clone().requires_grad_() for x in inputs]
    routed_attention(q, k, v, routing).square().sum().backward()
    assert all(leaf.grad is not None and leaf.grad.any() for leaf in leaves)


def test_route_gives_each_place_to_the_best_and_of_equals_to_the_first():
    logits = torch.tensor([[[0.0, 2.0, 1.0], [5.0, 5.0, 5.0]]])
    assert route(logits).tolist() == [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]]


def test_resized_masks_sum_to_one_where_drawn_and_to_zero_elsewhere():
    masks = torch.zeros(2, 64, 64)
    masks[0, :, :32] = 1.0
    masks[1, :, 16:48] = 1.0  # overlaps the first, null_tokens beyond
    small = resize_masks(list(masks), (8, 8)).unflatten(0, (8, 8))
    assert small[0, :, 0].tolist() == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert small[0, :, 1].tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 0.0, 0.0]


def test_masks_may_differ_in_resolution():
    small = resize_masks([torch.ones(4, 4), torch.ones(64, 32)], (8, 8))
    torch.testing.assert_close(small, torch.full((64, 2), 0.5))


def test_grids_halve_and_round_up_as_the_unet_does():
    assert grids(64, 64) == {
        4096: (64, 64),
        1024: (32, 32),
        256: (16, 16),
        64: (8, 8),
        16: (4, 4),
        4: (2, 2),
        1: (1, 1),
    }
    assert list(grids(9, 6).values()) == [(9, 6), (5, 3), (3, 2), (2, 1), (1, 1)]


def test_a_latent_without_size_is_refused():
    with pytest.raises(ConfigError, match="got 0 x 8"):
        grids(0, 8)
