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
