"""``uniportrait-faceid_sd15.bin``: ID embedding module, identity K/V, LoRA for one person."""

from collections.abc import Collection

from lib_uniid.checkpoints.format import Format, Layout, Names
from lib_uniid.checkpoints.parts import count, feed_forward, linear, norm, perceiver_attention
from lib_uniid.methods.uniportrait.formats.parts import keys_and_values, lora


def _layout(names: Collection[str]) -> Layout:
    layers = count(names, "faceid_proj.layers.")
    resampler = {
        "latents": "1 tokens dim",
        **linear("proj_id.0", "2*intrinsic intrinsic"),
        **linear("proj_id.2", "dim 2*intrinsic"),
        **linear("proj_clip.0", "2*structure structure"),
        **linear("proj_clip.2", "dim 2*structure"),
        **linear("proj_out", "context dim"),
        **norm("norm_out", "context"),
    }
    for layer in range(layers):
        resampler |= _resampler_layer(f"layers.{layer}")
    return {
        **{f"faceid_proj.{name}": shape for name, shape in resampler.items()},
        **lora("faceid_adapter."),
        **keys_and_values("faceid_adapter."),
    }


def _resampler_layer(name: str) -> dict[str, str]:
    return {
        **perceiver_attention(f"{name}.0", "inner", "dim"),
        **perceiver_attention(f"{name}.1", "inner", "dim"),
        **feed_forward(f"{name}.2", "dim"),
    }


FACEID = Format(
    name="faceid",
    title="UniPortrait faceid file",
    marks=frozenset({"faceid_proj.latents", "faceid_adapter.1.to_k_faceid.weight"}),
    # The router file may carry a copy of this one.
    excluded=frozenset({"faceid_adapter.1.aggr_router.weight"}),
    layout=_layout,
    fragments=Names(r"faceid_(proj|adapter)\.|\d+\.to_\w+_(lora|faceid|router)\."),
    groups=("faceid_proj", "faceid_adapter"),
    remedy="get uniportrait-faceid_sd15.bin from Junjie96/UniPortrait again",
)
