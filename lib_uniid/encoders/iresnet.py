"""insightface's iresnet face recognisers and their four taps (``arcface_torch/backbones/iresnet.py``).

Widths and depths are derived from the tensors, so a narrower file of the same layout works too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lib_uniid.encoders.loading import load_frozen, require
from lib_uniid.encoders.pixels import INPUT_SIZES, STAGES
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.typing import Float
from lib_uniid.weights import without_values

_WHAT = "the iresnet recogniser"
COUNTER = ".num_batches_tracked"
"""What ends the names of integers of batch norms, which are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes that differ between files of the layout.

    Attributes:
        stem: channels of the first convolution.
        widths: output channels of each stage.
        depths: residual blocks of each stage; (3, 13, 30, 3) in the one with 100 layers.
        final_size: side of the last tap's grid, 7 for 112 px.
        embedding: length of the ID embedding.
    """

    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    final_size: int
    embedding: int

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels: each stage halves it, rounding up."""
        return INPUT_SIZES[self.final_size]

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "Sizes":
        """Derive the sizes; ``CheckpointMismatchError`` if a tensor that tells one is missing or unfit."""
        firsts = [f"layer{stage}.0.conv2.weight" for stage in range(1, STAGES + 1)]
        require(state, ("conv1.weight", *firsts, "fc.weight"), _WHAT)
        widths = tuple(state[name].shape[0] for name in firsts)
        embedding, flat = state["fc.weight"].shape
        final_size = round((flat / widths[-1]) ** 0.5)
        if final_size**2 * widths[-1] != flat or final_size not in INPUT_SIZES:
            raise CheckpointMismatchError(
                f"fc.weight of {_WHAT} reads {flat} values, which are no grid of {widths[-1]} channels with "
                f"a side of {', '.join(map(str, sorted(INPUT_SIZES)))}; use a file of the published layout",
                misshapen=["fc.weight"],
            )
        return cls(
            stem=state["conv1.weight"].shape[0],
            widths=widths,
            depths=tuple(_depth(state, stage) for stage in range(1, STAGES + 1)),
            final_size=final_size,
            embedding=embedding,
        )


class Block(nn.Module):
    """Pre-normalised residual block; the second convolution has the stride; no activation after the sum."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Float[Tensor, "b c height width"]) -> Float[Tensor, "b d h w"]:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))
        return self.bn3(x) + shortcut


class IResNet(nn.Module):
    """The recogniser, with key names as in insightface's files."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.conv1 = nn.Conv2d(3, sizes.stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(sizes.stem)
        self.prelu = nn.PReLU(sizes.stem)
        widths = pairwise((sizes.stem, *sizes.widths))
        stages = [
            _stage(width_in, width, depth)
            for (width_in, width), depth in zip(widths, sizes.depths, strict=True)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn2 = nn.BatchNorm2d(sizes.widths[-1])
        self.fc = nn.Linear(sizes.widths[-1] * sizes.final_size**2, sizes.embedding)
        self.features = nn.BatchNorm1d(sizes.embedding)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "IResNet":
        """Load a file exactly, in float32 and frozen; the counters of its batch norms may be missing.

        Raises:
            CheckpointMismatchError: a tensor is missing, unexpected or of the wrong shape.
        """
        sizes = Sizes.of(state)
        with without_values():
            model = cls(sizes)
        counters = {name for name in model.state_dict() if name.endswith(COUNTER)} - state.keys()
        zero = torch.zeros((), dtype=torch.int64)
        return load_frozen(model, {**state, **dict.fromkeys(counters, zero)}, _WHAT)

    def forward(
        self, pixels: Float[Tensor, "b 3 s s"]
    ) -> tuple[Float[Tensor, "b e"], tuple[Float[Tensor, "b _ _ _"], ...]]:
        """The ID embedding, not normalised, and the four taps, fine to coarse: the output of each stage.

        Official sizes for 112 px in [-1, 1], RGB: 64 x 56 x 56, 128 x 28 x 28, 256 x 14 x 14, 512 x 7 x 7.
        """
        x = self.prelu(self.bn1(self.conv1(pixels)))
        taps: list[Tensor] = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            taps.append(x)
        return self.features(self.fc(self.bn2(x).flatten(1))), tuple(taps)


def _stage(width_in: int, width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(Block(width_in, width, 2), *(Block(width, width, 1) for _ in range(depth - 1)))


def _depth(state: Mapping[str, Tensor], stage: int) -> int:
    return len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")})
