"""Weights into an encoder, which is only ever read."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.weights import load_exactly

Module = TypeVar("Module", bound=nn.Module)


def load_frozen(module: Module, state: Mapping[str, Tensor], part: str) -> Module:
    """Give ``module`` exactly the tensors of ``state``, in float32, frozen and in evaluation mode.

    Raises CheckpointMismatchError as ``load_exactly`` does.
    """
    load_exactly(module, {key: _in_float32(tensor) for key, tensor in state.items()}, part)
    return module.eval().requires_grad_(False)


def require(state: Mapping[str, Tensor], names: Iterable[str], part: str) -> None:
    """The tensors that sizes are read from are there; others may be, too.

    Raises CheckpointMismatchError naming those that are not.
    """
    missing = set(names) - state.keys()
    if missing:
        raise CheckpointMismatchError(
            f"{part}: missing {', '.join(sorted(missing))}; the file is damaged or of another kind, "
            "download it again",
            missing=missing,
        )


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
