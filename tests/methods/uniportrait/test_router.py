"""Tests of the router's arithmetic."""

import torch
from torch.nn import functional

from lib_uniid.attention.rows import Role, Rows
from lib_uniid.methods.site_router import SiteRouter, fold_keys


def test_the_folded_router_equals_the_unfolded_one():
    torch.manual_seed(0)
    hidden, keys = torch.randn(2, 21, 12), torch.randn(1, 4, 12)
    first, bias, second = torch.randn(24, 12), torch.randn(24), torch.randn(12, 24)
    theta = functional.linear(functional.gelu(functional.linear(hidden, first, bias)), second)
    folded = SiteRouter(weight=first, bias=bias, keys=fold_keys(keys, second))
    torch.testing.assert_close(folded(hidden, hidden), theta @ keys.mT, rtol=1e-5, atol=1e-4)


def test_each_cond_row_has_the_keys_of_its_own_people():
    router = SiteRouter(weight=torch.ones(3, 3), bias=torch.zeros(3), keys=torch.rand(3, 2, 3))
    first, last = Rows([Role.COND, Role.UNCOND, Role.COND, Role.COND]).runs[::2]
    assert torch.equal(router.of(first).keys, router.keys[:1])
    assert torch.equal(router.of(last).keys, router.keys[1:])
