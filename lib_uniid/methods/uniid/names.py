"""The norms that names of well-known people have in a text encoder, kept for each set of weights."""

from collections.abc import Hashable, Sequence

from torch import Tensor

from lib_uniid.attention.text_encoders import TextEncoders
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.methods.uniid.text_tokens import mean_name, name_norms
from lib_uniid.typing import Float

MOST_KEPT = 16
"""Checkpoints and sets of LoRAs whose norms are kept."""


class NameNorms:
    """One norm for each token of a name and each text encoder, computed once for each set of weights."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Tensor, ...]] = {}

    def of(self, encoders: TextEncoders, widths: Sequence[int]) -> tuple[Float[Tensor, "k 1"], ...]:
        """For text encoders of these widths, on the CPU.

        Raises CheckpointMismatchError for text encoders of other widths.
        """
        key = encoders.key
        if key not in self._kept:
            if len(self._kept) == MOST_KEPT:
                self._kept.clear()
            self._kept[key] = tuple(_norms(encoders, number, width) for number, width in enumerate(widths))
        return self._kept[key]


def _norms(encoders: TextEncoders, number: int, width: int) -> Float[Tensor, "k 1"]:
    table = encoders.table(number)
    if table.shape[1] != width:
        raise CheckpointMismatchError(
            f"the UniID text branch is for a text encoder of {width} channels and the checkpoint's number "
            f"{number + 1} has {table.shape[1]}; load the checkpoint family that the weights were made for"
        )
    return name_norms(encoders.penultimate(number, mean_name(table))).cpu()
