"""Narrow encoders with random weights, in the official layouts."""

from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lib_uniid.encoders.clip_vision import ClipVision
from lib_uniid.encoders.curricularface import BackboneSizes, CurricularFace

NARROW = BackboneSizes(stem=4, widths=(4, 6, 6, 8, 10), input_size=56, embedding=12)
CLIP_CONFIG: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "projection_dim": 12,
    "image_size": 56,
    "patch_size": 14,
    "hidden_act": "gelu",
}


def backbone_state(seed: int = 0, sizes: BackboneSizes = NARROW) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return CurricularFace(sizes).state_dict()


def transformers_clip(seed: int = 0) -> CLIPVisionModelWithProjection:
    torch.manual_seed(seed)
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP_CONFIG)).eval()


def narrow_backbone(seed: int = 0, *, head: bool = False) -> CurricularFace:
    return CurricularFace.from_state_dict(backbone_state(seed), head=head)


def narrow_clip(seed: int = 0) -> ClipVision:
    return ClipVision.from_state_dict(transformers_clip(seed).state_dict(), CLIP_CONFIG)


def of_open_clip(tower: torch.nn.Module) -> dict[str, Tensor]:
    """An open_clip vision transformer's tensors under the names of the published file."""
    renamed = {
        "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "class_embedding": "vision_model.embeddings.class_embedding",
        "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    }
    modules = {
        "ln_pre": "vision_model.pre_layrnorm",
        "ln_post": "vision_model.post_layernorm",
        "transformer.resblocks": "vision_model.encoder.layers",
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    state: dict[str, Tensor] = {}
    for key, tensor in tower.state_dict().items():
        if key == "proj":
            state["visual_projection.weight"] = tensor.T
        elif "attn.in_proj_" in key:
            layer, parameter = key.split(".")[2], key.rpartition("_")[2]
            for name, part in zip("qkv", tensor.chunk(3), strict=True):
                state[f"vision_model.encoder.layers.{layer}.self_attn.{name}_proj.{parameter}"] = part
        else:
            name = renamed.get(key, key)
            for old, new in modules.items():
                name = name.replace(old, new)
            state[name] = tensor
    return state
