"""What a face detector is to everything outside of its own module."""

from typing import Protocol, runtime_checkable

import numpy as np

from lib_uniid.faces.detection import Face
from lib_uniid.faces.domain import Domain
from lib_uniid.typing import UInt8


@runtime_checkable
class Finder(Protocol):
    """Finds faces with their ID embeddings, such as :class:`lib_uniid.faces.detection.FaceFinder`."""

    @property
    def domain(self) -> Domain | None:
        """The pictures that its models are trained for; None for photographs."""
        ...

    @property
    def recogniser(self) -> str | None:
        """Fingerprint of the network that makes its ID embeddings; those of two networks are not compared."""
        ...

    def find(self, picture: UInt8[np.ndarray, "height width 3"]) -> tuple[Face, ...]:
        """Every face, numbered from 1 from left to right. Safe to call from several threads."""
        ...
