"""Tests of finding the attention layers."""

import random

import pytest
from torch import nn

from lib_uniid.attention.sites import find_sites
from lib_uniid.errors import HostTooOldError
from tests import recorded
from tests.attention.builders import Named, attention, narrow_unet

LAYERS = recorded.notes("state_dict_layout_full")["layers"]


@pytest.mark.parametrize("family", ["diffusers", "ldm"])
def test_sites_are_numbered_as_in_the_published_files(family: str):
    names = [layer[family].removesuffix(".processor") for layer in LAYERS]
    shuffled = random.Random(0).sample(names, len(names))
    found = find_sites(Named({name: attention() for name in shuffled}))
    assert [site.name for site in found] == names
    assert [site.index for site in found] == list(range(32))


def test_a_real_unet_has_16_pairs_in_the_published_order():
    found = find_sites(narrow_unet())
    assert [f"{site.name}.processor" for site in found] == [layer["diffusers"] for layer in LAYERS]


def test_odd_sites_read_the_text():
    found = find_sites(
        Named(
            {
                "mid_block.attentions.0.transformer_blocks.0": Named(
                    {"attn1": attention(8), "attn2": attention(8, 6, heads=4)}
                )
            }
        )
    )
    assert [(site.cross, site.width, site.context, site.heads) for site in found] == [
        (False, 8, 8, 2),
        (True, 8, 6, 4),
    ]


def test_a_network_without_such_layers_is_refused():
    with pytest.raises(
        HostTooOldError, match=r"Linear has no attention layers .*; load a checkpoint with such a UNet$"
    ):
        find_sites(nn.Linear(2, 2))
