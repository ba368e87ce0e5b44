"""What a method may ask of the host's text encoders."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from lib_uniid.typing import Float

Encode = Callable[[Sequence[str]], Float[Tensor, "p t d"]]
"""The text states of prompts as the host's UNet reads them, one row per prompt, all of one length."""


@runtime_checkable
class TextEncoders(Protocol):
    """The text encoders whose states, joined on the channels, the UNet reads; numbered from 0."""

    @property
    def key(self) -> Hashable:
        """Changes with the weights of any of them: with the checkpoint, and with LoRAs for text encoders."""
        ...

    def table(self, number: int) -> Float[Tensor, "v d"]:
        """The token embeddings of an encoder."""
        ...

    def penultimate(self, number: int, embeddings: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        """The states before the last layer, without norm, at these embeddings between begin and end token."""
        ...
