"""An autoencoder of the same function whose widths ldm's configuration can express.

There a level's width is a whole multiple of the first level's, and ours narrows in between.
"""

import re

from torch import Tensor

State = dict[str, Tensor]


def multiples(widths: tuple[int, ...]) -> tuple[int, ...]:
    """``ch_mult`` for levels at least as wide as ``widths``.

    A level is only widened to another width than its neighbours', since where two are alike ldm has no
    shortcut convolution.
    """
    first = widths[0]
    return tuple(width // first if width % first == 0 else 2 for width in widths)


def widened(state: State, widths: tuple[int, ...]) -> State:
    """The autoencoder with every level that is not a multiple of the first at twice the first's width.

    Its channels stand several times, one beside the other: a group of equal channels has the mean and the
    variance of one, so the normalisation stays as it is; and whatever reads them takes their mean.
    """
    levels = len(widths)
    targets = tuple(widths[0] * multiple for multiple in multiples(widths))
    result = dict(state)
    for level, (width, target) in enumerate(zip(widths, targets, strict=True)):
        if width == target:
            continue
        times = target // width
        for key, tensor in result.items():
            writes, reads = _sides(key, level, levels)
            if writes:
                result[key] = tensor = tensor.repeat_interleave(times, dim=0)
            if reads:
                result[key] = tensor.repeat_interleave(times, dim=1) / times
    return result


def _sides(key: str, level: int, levels: int) -> tuple[bool, bool]:
    """Whether a tensor has a channel of ``level`` per row, and whether it reads them."""
    found = re.match(r"(?:encoder\.down|decoder\.up)_blocks\.(\d+)\.(?:resnets\.(\d+)\.)?(.+)", key)
    if found is None:
        return False, False
    block, resnet, layer = int(found[1]), int(found[2] or 0), found[3]
    at = block if key.startswith("encoder") else levels - 1 - block
    entering = resnet == 0 and layer.startswith(("norm1", "conv1", "conv_shortcut"))
    before = at - 1 if key.startswith("encoder") else at + 1
    source = before if entering and "sampler" not in layer else at
    matrix = layer.endswith("weight") and not layer.startswith("norm")
    if layer.startswith("norm1") and entering:
        return source == level, False
    return at == level, matrix and source == level
