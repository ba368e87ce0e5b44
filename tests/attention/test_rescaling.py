"""Tests of normalized rescaling, and its parity with the official code."""

import pytest
import torch
from einops import rearrange
from torch import Tensor

from lib_uniid.attention.math import attend
from lib_uniid.attention.rescaling import ratio
from tests import recorded_uniid as recorded
from tests.near import assert_near

RECORDED, WEIGHTS = recorded.tensors("ip_attn"), recorded.weights("ip_attn")
CASES = {one["name"]: one for one in recorded.notes("ip_attn")["cases"]}
HEADS = 4


def layer(name: str, dtype: torch.dtype) -> Tensor:
    """The recorded layer with our attention and our ratio, in one case."""
    weights = {key: value.to(dtype) for key, value in WEIGHTS.items()}
    hidden, text = RECORDED["in.hidden"].to(dtype), RECORDED["in.text"].to(dtype)
    tokens = RECORDED.get(f"ipin.{name}", RECORDED["in.ip"]).to(dtype)

    def heads(values: Tensor, projection: str) -> Tensor:
        return rearrange(values @ weights[f"{projection}.weight"].T, "b t (h c) -> b h t c", h=HEADS)

    query = hidden @ weights["to_q.weight"].T
    own = attend(query, heads(text, "to_k"), heads(text, "to_v"))
    branch = attend(query, heads(tokens, "processor.to_k_ip"), heads(tokens, "processor.to_v_ip"))
    case = CASES[name]
    gain = (ratio(own, branch) if case["normalize"] else 1.0) * case["scale"]
    return (own + (gain * branch).to(dtype)) @ weights["to_out.0.weight"].T + weights["to_out.0.bias"]


@pytest.mark.golden
@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_the_official_one(name: str):
    dtype = torch.float16 if CASES[name].get("dtype") == "float16" else torch.float32
    assert_near(layer(name, dtype), RECORDED[f"out.{name}"], CASES[name].get("tol", 1e-5))


def test_each_row_gets_the_norm_of_its_own_text():
    text, branch = torch.randn(2, 3, 4, 5).unbind()
    made = ratio(text, branch) * branch
    assert_near(made.norm(dim=(1, 2)), text.norm(dim=(1, 2)))


def test_norms_that_float16_cannot_hold_are_made_in_float32():
    text, branch = torch.full((1, 64, 64), 3000.0).half(), torch.full((1, 64, 64), 0.5).half()
    assert_near(ratio(text, branch), torch.full((1, 1, 1), 6000.0), 0.1)
