"""An autoencoder of the same function whose widths ldm's configuration can express, and back.

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
    result = dict(state)
    for level, times in _repeats(widths).items():
        for key, tensor in result.items():
            writes, reads = _sides(key, level, len(widths))
            if writes:
                result[key] = tensor = tensor.repeat_interleave(times, dim=0)
            if reads:
                result[key] = tensor.repeat_interleave(times, dim=1) / times
    return result


def narrowed(state: State, widths: tuple[int, ...]) -> State:
    """The autoencoder that :func:`widened` was given: one of each of the channels that stand several times.

    Half precision loses what is below 1e-7.
    """
    result = dict(state)
    for level, times in _repeats(widths).items():
        for key, tensor in result.items():
            writes, reads = _sides(key, level, len(widths))
            if writes:
                result[key] = tensor = tensor[::times]
            if reads:
                result[key] = tensor[:, ::times] * times
    return result


def _repeats(widths: tuple[int, ...]) -> dict[int, int]:
    """How many times a channel stands, for the levels that are widened."""
    times = {level: widths[0] * multiple for level, multiple in enumerate(multiples(widths))}
    return {level: wide // widths[level] for level, wide in times.items() if wide != widths[level]}


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
