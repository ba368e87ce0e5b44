"""UniID's ID encoder: insightface's R100 recogniser and its four taps."""

import numpy as np
import torch
from torch import Tensor, nn

from lib_uniid.encoders.features import IDFeatures
from lib_uniid.encoders.fingerprint import fingerprint_of
from lib_uniid.encoders.iresnet import COUNTER, IResNet
from lib_uniid.encoders.pixels import sampled, to_tensor
from lib_uniid.typing import UInt8

EMBEDDING = "embedding"
TAPS = ("tap1", "tap2", "tap3", "tap4")


class R100Encoder:
    """A :class:`lib_uniid.encoders.encoder.FaceEncoder`. The features of ``r`` references are

    * ``embedding``: the recogniser's output, not normalised; officially [r, 512].
    * ``tap1`` to ``tap4``: the output of each stage; officially [r, 64, 56, 56], [r, 128, 28, 28],
      [r, 256, 14, 14] and [r, 512, 7, 7].

    The official code aligns at 112 pixels. Of an aligned crop of 224 it is every second pixel; see
    :func:`lib_uniid.encoders.pixels.sampled`. There is no structure.
    """

    reads_structure = False

    def __init__(self, backbone: IResNet) -> None:
        self.backbone = backbone
        tensors = backbone.state_dict().items()
        self.fingerprint = fingerprint_of(
            {name: (tensor,) for name, tensor in tensors if not name.endswith(COUNTER)}
        )

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The network."""
        return (self.backbone,)

    def in_float32(self) -> None:
        """Convert the network to float32, if half precision overflowed."""
        self.backbone.float()

    @torch.no_grad()
    def encode(self, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True) -> IDFeatures:
        """ID features of one person from aligned crops, one per reference."""
        weight = self.backbone.conv1.weight
        pixels = sampled(to_tensor(crops).to(weight.device), self.backbone.sizes.input_size)
        embedding, taps = self.backbone(pixels.to(weight.dtype))
        return self._features((embedding, *taps), len(crops))

    @torch.no_grad()
    def uncond(self, structure: bool = True) -> IDFeatures:
        """The features of the null identity: zeros, as in the official code."""
        sizes, weight = self.backbone.sizes, self.backbone.conv1.weight
        side, outputs = sizes.input_size, [weight.new_zeros(1, sizes.embedding)]
        for width in sizes.widths:
            side = (side + 1) // 2
            outputs.append(weight.new_zeros(1, width, side, side))
        return self._features(tuple(outputs), 1)

    def _features(self, outputs: tuple[Tensor, ...], references: int) -> IDFeatures:
        return IDFeatures(
            tensors=dict(zip((EMBEDDING, *TAPS), outputs, strict=True)),
            fingerprint=self.fingerprint,
            references=references,
        )
