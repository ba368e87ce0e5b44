"""The adapter branch, as the official training saves it."""

from collections.abc import Collection

from lib_uniid.bases import SDXL
from lib_uniid.checkpoints.format import Format, Layout, Names
from lib_uniid.checkpoints.parts import count, feed_forward, linear, norm, perceiver_attention

PREFIX = "adapter_branch."
MODULES = "adapter_modules."
SITES = 2 * len(SDXL.unet.widths)
"""Attention layers, in the order down, up, middle; even ones are self, odd ones cross."""

_RESAMPLER = "adapter_resampler"


def _layout(names: Collection[str]) -> Layout:
    layout = {
        "latents": "1 tokens dim",
        **linear(f"{_RESAMPLER}.proj_face_recog_model_layers.0", "dim shallow"),
        **linear(f"{_RESAMPLER}.proj_face_recog_model_layers.1", "dim tap"),
        **linear(f"{_RESAMPLER}.proj_out", "context dim"),
        **norm(f"{_RESAMPLER}.norm_out", "context"),
    }
    for layer in range(count(names, f"{_RESAMPLER}.layers.")):
        name = f"{_RESAMPLER}.layers.{layer}"
        layout |= {
            **perceiver_attention(f"{name}.0", "inner", "dim"),
            **perceiver_attention(f"{name}.1", "inner", "dim"),
            **feed_forward(f"{name}.2", "dim"),
        }
    return layout | {
        f"{MODULES}{site}.to_{projection}_ip.weight": f"width{SDXL.unet.widths[site // 2]} context"
        for site in range(1, SITES, 2)
        for projection in "kv"
    }


ADAPTER_BRANCH = Format(
    name="adapter_branch",
    title="UniID adapter branch",
    marks=frozenset({"latents", f"{_RESAMPLER}.proj_out.weight"}),
    layout=_layout,
    prefix=PREFIX,
    fragments=Names(r"(adapter_branch\.)?adapter_(resampler|modules)\."),
    remedy="get adapter_branch_checkpoints/pytorch_model.bin from pangly/UniID again",
)
