"""The conditioning of the base on people and places."""

import torch

from miniature.characters import TRAITS
from miniature.recipes.base import TEXT_WIDTH, TOKENS, TraitTokens, nearest


def test_each_token_belongs_to_the_nearest_person_in_any_order_and_at_any_grid() -> None:
    x = torch.tensor([[0.25, 0.75], [0.9, 0.3]])
    for side in (16, 4):
        routing = nearest(x)(torch.zeros(2, side * side, 2)).unflatten(1, (side, side))
        left, right = routing[:, :, : side // 2], routing[:, :, side // 2 :]
        assert (left[0, ..., 0] == 1).all()
        assert (right[0, ..., 1] == 1).all()
        assert (left[1, ..., 1] == 1).all()
        assert (right[1, :, -1, 0] == 1).all()
        assert (routing.sum(-1) == 1).all()


def test_the_null_identity_has_the_same_tokens_for_any_traits() -> None:
    torch.manual_seed(0)
    known = TraitTokens()
    torch.nn.init.normal_(known.null)
    tokens = known(torch.rand(3, len(TRAITS)), torch.tensor([True, False, True]))
    assert tokens.shape == (3, TOKENS, TEXT_WIDTH)
    assert torch.equal(tokens[0], tokens[2])
    assert torch.allclose(tokens[0], known.null_tokens())
    assert not torch.allclose(tokens[1], tokens[0])
