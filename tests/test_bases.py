"""Tests of recognising families of base models by their UNets."""

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel

from lib_uniid.attention.deciding import leaders_of
from lib_uniid.attention.sites import find_sites, shape_of
from lib_uniid.bases import BASES, SD15, SD21, SDXL, Base, UNetShape, of_unet
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.methods import registry
from tests.narrow import narrow_unet

SD: dict[str, Any] = {"block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8}
XL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
}
REFINER = {
    **XL,
    "block_out_channels": (384, 768, 1536, 1536),
    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
    "transformer_layers_per_block": 4,
    "attention_head_dim": (6, 12, 24, 24),
    "cross_attention_dim": 1280,
}
SSD_1B = {**XL, "transformer_layers_per_block": (1, 2, 4)}  # a distilled SDXL: other layers, the same text


@pytest.mark.parametrize(
    ("config", "base"),
    [
        pytest.param({**SD, "cross_attention_dim": 768}, SD15, id="SD 1.5"),
        pytest.param({**SD, "cross_attention_dim": 1024}, SD21, id="SD 2.1"),
        pytest.param(XL, SDXL, id="SDXL"),
        pytest.param({**SD, "cross_attention_dim": 512}, None, id="SD with another text model"),
        pytest.param(REFINER, None, id="SDXL's refiner"),
        pytest.param(SSD_1B, None, id="a shorter SDXL"),
    ],
)
def test_a_unet_is_recognised_by_its_cross_attention(config: dict[str, Any], base: Base | None):
    with init_empty_weights():
        unet = UNet2DConditionModel(**config)
    shape = shape_of(find_sites(unet))
    assert of_unet(shape) is base
    if base is not None:
        assert shape == base.unet
        assert {2 * leader + 1 for leader in base.unet_leaders} == {*leaders_of(find_sites(unet)).values()}


def test_a_narrow_unet_is_of_the_family_whose_text_it_reads_or_of_the_first():
    narrow = shape_of(find_sites(narrow_unet()))
    assert of_unet(narrow) is SD15
    for base in (SD15, SD21):
        assert of_unet(replace(narrow, context=base.unet.context)) is base
    assert of_unet(UNetShape(widths=(64,) * 70, context=48)) is SDXL
    assert of_unet(UNetShape(widths=(64,) * 17, context=768)) is None


def test_without_a_name_the_method_is_one_that_works_with_the_base_model():
    assert registry.require(None, SD15) == registry.require(None)
    assert SDXL in registry.require(None, SDXL).value.bases
    with pytest.raises(CheckpointMismatchError, match="no method works with Stable Diffusion 2; load"):
        registry.require(None, SD21)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.title)
def test_the_values_of_a_family_fit_together(base: Base):
    assert torch.tensor(base.latent_colours).shape == (base.latent_channels, 3)
    assert sum(one.width for one in base.text_encoders) == base.unet.context
    assert all(one.width % one.heads == 0 for one in base.text_encoders)


def test_no_other_module_writes_a_value_of_a_family():
    product = Path(__file__).parents[1] / "lib_uniid"
    values = {base.latent_scale for base in BASES} | {SD15.unet.context, SDXL.unet.context}
    words = [base.title for base in BASES] + ["quick_gelu"]
    # Methods may; fields/ and faces/ have limits of pictures, and v1.py lists the names that it exports.
    apart = {"methods", "bases.py", "fields", "faces", "v1.py"}
    found: list[str] = []
    for path in product.rglob("*.py"):
        if apart & {*path.parts}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            value = node.value if isinstance(node, ast.Constant) else None
            titled = isinstance(value, str) and any(word in value for word in words)
            if titled or value in values:
                found.append(f"{path.relative_to(product)}:{getattr(node, 'lineno', 0)}: {value!r}")
    assert found == []
