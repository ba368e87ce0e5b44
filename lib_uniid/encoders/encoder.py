"""What an ID encoder is to everything outside of its own module."""

from typing import Protocol, runtime_checkable

import numpy as np
from torch import nn

from lib_uniid.encoders.features import IDFeatures
from lib_uniid.typing import UInt8


@runtime_checkable
class FaceEncoder(Protocol):
    """Makes ID features of aligned crops, as :class:`lib_uniid.encoders.identity.IDEncoder` does.

    It is opened on the CPU in float32. Its user moves ``modules`` to a device and a precision, and it
    computes where its modules are.
    """

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks."""
        ...

    @property
    def fingerprint(self) -> str:
        """Tells encoders apart; features of two encoders are never mixed.

        Features without structure may have another one: :attr:`lib_uniid.encoders.features.IDFeatures.core`.
        """
        ...

    @property
    def reads_structure(self) -> bool:
        """Whether it can make structure features."""
        ...

    def in_float32(self) -> None:
        """Convert the networks to float32, if half precision overflowed."""
        ...

    def encode(self, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True) -> IDFeatures:
        """ID features of one person from aligned crops, one per reference."""
        ...

    def uncond(self, structure: bool = True) -> IDFeatures:
        """The features of the null identity."""
        ...
