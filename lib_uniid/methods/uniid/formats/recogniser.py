"""insightface's ``backbone.pth`` of R100: the face recogniser iresnet100."""

import re
from collections.abc import Collection, Mapping

from lib_uniid.checkpoints.format import Format, Layout
from lib_uniid.checkpoints.parts import batch_norm, count, linear

_BLOCKS = (3, 13, 30, 3)
_WIDTH = 512
"""Channels of the published file's last stage; a narrower file may have any number of blocks."""


def _layout(names: Collection[str]) -> Layout:
    layout = {"conv1.weight": "stem 3 3 3", **batch_norm("bn1", "stem"), "prelu.weight": "stem"}
    width = "stem"
    for stage in range(1, len(_BLOCKS) + 1):
        width_in, width = width, f"width{stage}"
        for block in range(count(names, f"layer{stage}.")):
            layout |= _block(f"layer{stage}.{block}", width if block else width_in, width)
        layout |= {
            f"layer{stage}.0.downsample.0.weight": f"{width} {width_in} 1 1",
            **batch_norm(f"layer{stage}.0.downsample.1", width),
        }
    return {
        **layout,
        **batch_norm("bn2", width),
        **linear("fc", f"embedding positions*{width}"),
        **batch_norm("features", "embedding"),
    }


def _block(name: str, width_in: str, width: str) -> dict[str, str]:
    return {
        **batch_norm(f"{name}.bn1", width_in),
        f"{name}.conv1.weight": f"{width} {width_in} 3 3",
        **batch_norm(f"{name}.bn2", width),
        f"{name}.prelu.weight": width,
        f"{name}.conv2.weight": f"{width} {width} 3 3",
        **batch_norm(f"{name}.bn3", width),
    }


def _unfit(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    blocks = tuple(count(shapes, f"layer{stage}.") for stage in range(1, len(_BLOCKS) + 1))
    if shapes["layer4.0.conv2.weight"][0] != _WIDTH or blocks == _BLOCKS:
        return None
    return (
        f"its stages have {', '.join(map(str, blocks))} blocks, and those of R100 have "
        f"{', '.join(map(str, _BLOCKS))}; ID embeddings of another recogniser do not fit"
    )


RECOGNISER = Format(
    name="iresnet100",
    title="ArcFace R100 recogniser",
    marks=frozenset(
        {"conv1.weight", "layer1.0.prelu.weight", "layer4.0.conv2.weight", "features.running_mean"}
    ),
    layout=_layout,
    optional=re.compile(r".*\.num_batches_tracked"),
    unfit=_unfit,
    remedy=(
        "get backbone.pth of glint360k_cosface_r100_fp16_0.1; the recognisers of buffalo_l and antelopev2 "
        "cannot take its place"
    ),
)
