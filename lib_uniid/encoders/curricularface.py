"""CurricularFace's IR-101 face recogniser (``backbone/model_irse.py``) and its four taps.

Widths, depths and input size are derived from the tensors, so a narrower file of the same layout works too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from lib_uniid.encoders.loading import load_frozen, require
from lib_uniid.encoders.pixels import INPUT_SIZES, STAGES, halved
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.typing import Float
from lib_uniid.weights import without_values

_WHAT = "CurricularFace"
_REMEDY = "use a file of the published layout"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSizes:
    """Sizes that differ between files of the layout.

    Attributes:
        stem: channels of the first convolution.
        widths: output channels of each residual block, first to last; a change starts a stage.
        input_size: side of the square input in pixels, 224 divided by a power of two.
        embedding: length of the ID embedding.
    """

    stem: int
    widths: tuple[int, ...]
    input_size: int
    embedding: int

    def __post_init__(self) -> None:
        if len(self.taps) != STAGES:
            raise CheckpointMismatchError(
                f"{_WHAT} has {len(self.taps)} stages of distinct width, expected {STAGES}; {_REMEDY}"
            )

    @property
    def starts(self) -> frozenset[int]:
        """Blocks that halve the resolution: the first of every stage."""
        return frozenset({0, *(tap + 1 for tap in self.taps[:-1])})

    @property
    def taps(self) -> tuple[int, ...]:
        """The last block of every stage."""
        ends = [block for block, (width, following) in enumerate(pairwise(self.widths)) if width != following]
        return (*ends, len(self.widths) - 1)

    @property
    def final_size(self) -> int:
        """Side of the last tap's grid."""
        return halved(self.input_size)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "BackboneSizes":
        """Derive the sizes from the tensors.

        Raises:
            CheckpointMismatchError: a tensor that determines a size is missing, or the sizes disagree.
        """
        blocks = len({key.split(".")[1] for key in state if key.startswith("body.")})
        convolutions = tuple(f"body.{block}.res_layer.4.weight" for block in range(max(blocks, 1)))
        require(state, ("input_layer.0.weight", *convolutions, "output_layer.3.weight"), _WHAT)
        widths = tuple(state[key].shape[0] for key in convolutions)
        embedding, flat = state["output_layer.3.weight"].shape
        return cls(
            stem=state["input_layer.0.weight"].shape[0],
            widths=widths,
            input_size=_input_size(flat, widths[-1]),
            embedding=embedding,
        )


class Block(nn.Module):
    """Pre-normalised residual block; the second convolution has the stride; no activation after the sum."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer = (
            nn.MaxPool2d(1, stride)
            if width_in == width
            else nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Conv2d(width_in, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Float[Tensor, "b c height width"]) -> Float[Tensor, "b d h w"]:
        return self.res_layer(x) + self.shortcut_layer(x)


class CurricularFace(nn.Module):
    """The recogniser, with key names as in the official file.

    Args:
        sizes: derived from a file, or chosen for training.
        head: also build the part from the last tap to the ID embedding; ID features need only the taps.
    """

    def __init__(self, sizes: BackboneSizes, *, head: bool = True) -> None:
        super().__init__()
        self.sizes = sizes
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, sizes.stem, 3, 1, 1, bias=False), nn.BatchNorm2d(sizes.stem), nn.PReLU(sizes.stem)
        )
        widths = pairwise((sizes.stem, *sizes.widths))
        self.body = nn.ModuleList(
            Block(width_in, width, stride=2 if block in sizes.starts else 1)
            for block, (width_in, width) in enumerate(widths)
        )
        self.output_layer = _head(sizes) if head else None

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], *, head: bool = False) -> "CurricularFace":
        """Load a file exactly; without ``head`` the head's tensors are checked and dropped.

        Raises:
            CheckpointMismatchError: a tensor is missing, unexpected or of the wrong shape.
        """
        sizes = BackboneSizes.of(state)
        with without_values():
            model = cls(sizes)
        load_frozen(model, state, _WHAT)
        if not head:
            model.output_layer = None
        return model

    def forward(self, pixels: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """The four taps, fine to coarse: the output of each stage's last block.

        Official sizes for 112 px in [-1, 1], RGB: 64 x 56 x 56, 128 x 28 x 28, 256 x 14 x 14, 512 x 7 x 7.
        """
        x = self.input_layer(pixels)
        taps: list[Tensor] = []
        for index, block in enumerate(self.body):
            x = block(x)
            if index in self.sizes.taps:
                taps.append(x)
        return tuple(taps)

    def embed(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """The ID embedding, not normalised; needs the head."""
        assert self.output_layer is not None, "built without its head"
        return self.output_layer(self(pixels)[-1])


def _head(sizes: BackboneSizes) -> nn.Sequential:
    flat = sizes.widths[-1] * sizes.final_size**2
    return nn.Sequential(
        nn.BatchNorm2d(sizes.widths[-1]),
        nn.Dropout(0.4),
        nn.Flatten(),
        nn.Linear(flat, sizes.embedding),
        nn.BatchNorm1d(sizes.embedding, affine=False),
    )


def _input_size(flat: int, width: int) -> int:
    """The side whose last grid the head flattens."""
    for side, size in INPUT_SIZES.items():
        if side**2 * width == flat:
            return size
    raise CheckpointMismatchError(
        f"output_layer.3.weight of {_WHAT} takes {flat} values, which match no input size; {_REMEDY}",
        misshapen=["output_layer.3.weight"],
    )
