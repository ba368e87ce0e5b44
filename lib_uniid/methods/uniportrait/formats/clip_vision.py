"""The image encoder of IP-Adapter: transformers' ``CLIPVisionModelWithProjection``."""

import re
from collections.abc import Collection

from lib_uniid.checkpoints.format import Format, Layout
from lib_uniid.checkpoints.parts import count, linear, norm

_MODEL = "vision_model."
_LAYERS = f"{_MODEL}encoder.layers."


def _layout(names: Collection[str]) -> Layout:
    layout = {
        f"{_MODEL}embeddings.class_embedding": "width",
        f"{_MODEL}embeddings.patch_embedding.weight": "width 3 patch patch",
        f"{_MODEL}embeddings.position_embedding.weight": "positions width",
        **norm(f"{_MODEL}pre_layrnorm", "width"),  # transformers' own spelling
        **norm(f"{_MODEL}post_layernorm", "width"),
        "visual_projection.weight": "projection width",
    }
    for layer in range(count(names, _LAYERS)):
        name = f"{_LAYERS}{layer}"
        for projection in ("q", "k", "v", "out"):
            layout |= linear(f"{name}.self_attn.{projection}_proj", "width width")
        layout |= {
            **norm(f"{name}.layer_norm1", "width"),
            **norm(f"{name}.layer_norm2", "width"),
            **linear(f"{name}.mlp.fc1", "hidden width"),
            **linear(f"{name}.mlp.fc2", "width hidden"),
        }
    return layout


CLIP_VISION = Format(
    name="clip_vision",
    title="CLIP image encoder (transformers layout, with projection)",
    marks=frozenset({f"{_MODEL}embeddings.class_embedding", "visual_projection.weight"}),
    layout=_layout,
    ignored=re.compile(rf"{_MODEL}embeddings\.position_ids"),  # saved by older releases of transformers
    remedy="get models/image_encoder from h94/IP-Adapter again",
)
