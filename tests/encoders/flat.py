"""An ID encoder of a plugin: the same features for every face."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from lib_uniid.api.v1 import IDEncoderDeclaration
from lib_uniid.encoders.features import IDFeatures

NAME, FINGERPRINT = "Flat", "f1a7"


class FlatEncoder:
    """A :class:`lib_uniid.encoders.encoder.FaceEncoder` without networks and without structure."""

    modules: tuple[nn.Module, ...] = ()
    fingerprint = FINGERPRINT
    reads_structure = False

    def in_float32(self) -> None:
        """It has no networks."""

    def encode(self, crops: np.ndarray, structure: bool = True) -> IDFeatures:
        count = len(crops)
        ones = torch.ones(count, 4)
        return IDFeatures(tensors={"intrinsic": ones}, fingerprint=FINGERPRINT, references=count)

    def uncond(self, structure: bool = True) -> IDFeatures:
        zeros = torch.zeros(1, 4)
        return IDFeatures(tensors={"intrinsic": zeros}, fingerprint=FINGERPRINT, references=1)


class FlatPlugin:
    """Registers the encoder."""

    def register_id_encoders(self, register: Callable[[IDEncoderDeclaration], None]) -> None:
        register(IDEncoderDeclaration(name=NAME, open=lambda _: FlatEncoder()))
