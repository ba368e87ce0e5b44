"""The three published files of UniID, narrow, with weights that follow from their names."""

from collections.abc import Callable, Mapping

from torch import Tensor

from tests import recorded_uniid as recorded

_WIDE = {1536: 128, 3072: 256}
_TEXT = {**_WIDE, 512: 16, 1024: 20, 768: 64, 1280: 128, 2304: 192, 3840: 384, 5120: 512, 2560: 256}
_ADAPTER = {**_WIDE, 25: 5, 768: 64, 448: 36, 512: 16, 2048: 192, 640: 8, 1280: 12}
_RECOGNISER = {64: 8, 128: 12, 256: 16, 512: 16, 25088: 784}

Shapes = dict[str, tuple[int, ...]]


def official(name: str) -> Shapes:
    """Names and shapes of a published file."""
    return {key: tuple(shape) for key, shape in recorded.written(f"keys_{name}")["keys"].items()}


def narrow(shapes: Shapes, sizes: Mapping[int, int]) -> dict[str, Tensor]:
    """The file with other sizes."""
    return recorded.state(
        {name: [sizes.get(side, side) for side in shape] for name, shape in shapes.items()}, "narrow:"
    )


def text_branch() -> dict[str, Tensor]:
    return narrow(official("text_branch"), _TEXT)


def adapter_branch() -> dict[str, Tensor]:
    return narrow(official("adapter_branch"), _ADAPTER)


def recogniser() -> dict[str, Tensor]:
    """With a third of the blocks."""
    kept = {
        name: shape
        for name, shape in official("iresnet100").items()
        if not name.startswith("layer") or int(name.split(".")[1]) < (4 if "layer3" in name else 2)
    }
    return narrow(kept, _RECOGNISER)


def bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix of all names."""
    return {name.partition(".")[2]: tensor for name, tensor in state.items()}


FILES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "iresnet100": recogniser,
    "text_branch": text_branch,
    "adapter_branch": adapter_branch,
}
