"""Loading weights into a frozen encoder."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.weights import load_exactly

Module = TypeVar("Module", bound=nn.Module)


def load_frozen(module: Module, state: Mapping[str, Tensor], part: str) -> Module:
    """Load exactly the tensors of ``state`` into ``module``, in float32, frozen and in evaluation mode.

    Raises CheckpointMismatchError as ``load_exactly`` does.
    """
    load_exactly(module, {key: _in_float32(tensor) for key, tensor in state.items()}, part)
    return module.eval().requires_grad_(False)


def require(state: Mapping[str, Tensor], names: Iterable[str], part: str) -> None:
    """Check that the tensors that determine sizes exist; further tensors are allowed.

    Raises CheckpointMismatchError with the names of missing tensors.
    """
    missing = set(names) - state.keys()
    if missing:
        raise CheckpointMismatchError(
            f"{part}: missing {', '.join(sorted(missing))}; the file is damaged or of another type; "
            "download it again",
            missing=missing,
        )


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
