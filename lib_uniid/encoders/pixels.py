"""Pixel values for both encoders, as in the official code of arXiv 2408.05939.

Image processors are not used, because their defaults for cropping and resizing have changed between releases.
"""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float, UInt8

CROP = 224
STAGES = 4
"""Stages of a face recogniser; each halves its input."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def halved(size: int) -> int:
    """The side after four convolutions of stride 2 and padding 1, each rounding up."""
    for _ in range(STAGES):
        size = (size + 1) // 2
    return size


INPUT_SIZES = {halved(CROP // factor): CROP // factor for factor in (1, 2, 4, 8, 16)}
"""The input side of a face recogniser, a crop divided by a power of two, by the side of its last tap."""


def to_tensor(crops: UInt8[np.ndarray, "r height width 3"]) -> Float[Tensor, "r 3 height width"]:
    """Aligned RGB crops as floats in [0, 255].

    Raises:
        ConfigError: the crops are not 224 x 224.
    """
    if crops.shape[1:3] != (CROP, CROP):
        raise ConfigError(
            f"aligned crops must be {CROP} x {CROP} pixels, got {crops.shape[2]} x {crops.shape[1]}; "
            "align them first"
        )
    return rearrange(torch.from_numpy(np.ascontiguousarray(crops)).float(), "r h w c -> r c h w")


def for_clip(values: Float[Tensor, "r 3 height width"], size: int) -> Float[Tensor, "r 3 size size"]:
    """CLIP's normalisation; exactly (x / 255 - mean) / std at the official 224."""
    mean = values.new_tensor(CLIP_MEAN)[:, None, None]
    std = values.new_tensor(CLIP_STD)[:, None, None]
    return average_down((values / 255 - mean) / std, size)


def for_recogniser(values: Float[Tensor, "r 3 height width"], size: int) -> Float[Tensor, "r 3 size size"]:
    """Values in [-1, 1], averaged down to the recogniser's input (officially 2 x 2 pixels to one)."""
    return average_down(values / 127.5 - 1, size)


def average_down(values: Float[Tensor, "r c height width"], size: int) -> Float[Tensor, "r c size size"]:
    """Mean of k x k blocks; for k = 2 the same as the reference's bilinear halving."""
    return functional.avg_pool2d(values, values.shape[-1] // size)


def sampled(values: Float[Tensor, "r 3 height width"], size: int) -> Float[Tensor, "r 3 size size"]:
    """Values in [-1, 1], of every k-th pixel.

    The template of :func:`lib_uniid.faces.alignment.align` scales with the crop's side, so pixel ``k x`` of
    the crop was read at the same place of the picture as pixel ``x`` of a crop of that side: this is
    insightface's ``norm_crop`` of the smaller side, to within the rounding of places and values.
    """
    step = values.shape[-1] // size
    return values[..., ::step, ::step] / 127.5 - 1
