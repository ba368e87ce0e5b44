"""Tensors from a file into a module: an exact match, or an error that names the differences."""

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, no_type_check

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lib_uniid.errors import CheckpointMismatchError


def read_small(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file that is read repeatedly, in one read.

    ``safe_open`` leaks 80 bytes for every tensor (safetensors 0.8.0). Raises
    ``OSError``, ``SafetensorError`` and ``ValueError``.
    """
    from safetensors.torch import load

    data = path.read_bytes()
    tensors = load(data)
    size = int.from_bytes(data[:8], "little")
    return tensors, json.loads(data[8 : 8 + size]).get("__metadata__", {})


@contextmanager
def without_values() -> Generator[None]:
    """Modules made inside are on the meta device and not initialised: their weights come from a file."""
    with torch.device("meta"), _Uninitialised():
        yield


@no_type_check  # called for every tensor
class _Uninitialised(TorchFunctionMode):
    """Leaves out ``nn.init``; on the meta device its random numbers take most of the time of loading."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        initialises = getattr(func, "__module__", None) == nn.init.__name__
        return given["tensor"] if initialises else func(*args, **given)


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], part: str) -> None:
    """Load ``state`` into ``module``; the tensors are assigned, not copied.

    ``module`` may be on the meta device. ``part`` names the weights in the message. Raises
    CheckpointMismatchError with every name that is missing, unexpected or of the wrong shape.
    """
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    require_names(state, expected, part)
    misshapen = [name for name, shape in expected.items() if state[name].shape != shape]
    if misshapen:
        first = misshapen[0]
        raise CheckpointMismatchError(
            f"{part}: {first} has shape {list(state[first].shape)}, expected {list(expected[first])} "
            f"({len(misshapen)} such tensors); the file belongs to another model; get the matching one",
            misshapen=misshapen,
        )
    module.load_state_dict(state, assign=True)


def require_names(state: Iterable[str], expected: Iterable[str], part: str) -> None:
    """Raise CheckpointMismatchError unless the names in ``state`` are exactly the ``expected`` ones."""
    missing, unexpected = set(expected) - set(state), set(state) - set(expected)
    if missing or unexpected:
        found = ", ".join(_some("missing", missing) + _some("unexpected", unexpected))
        raise CheckpointMismatchError(
            f"{part}: {found}; the file is damaged or of another type; download it again",
            missing=missing,
            unexpected=unexpected,
        )


def shape_of(state: Mapping[str, Tensor], name: str, part: str, dimensions: int = 2) -> tuple[int, ...]:
    """The shape of a tensor that determines sizes.

    Raises CheckpointMismatchError if it is missing, empty, or has a wrong number of dimensions.
    """
    if name not in state:
        raise CheckpointMismatchError(
            f"{part}: missing {name}; the file is damaged or of another type; download it again",
            missing=[name],
        )
    shape = tuple(state[name].shape)
    if len(shape) != dimensions or not all(shape):
        raise CheckpointMismatchError(
            f"{part}: {name} has shape {list(shape)}, expected {dimensions} dimensions; "
            "the file is damaged or of another type; download it again",
            misshapen=[name],
        )
    return shape


def _some(kind: str, names: set[str], shown: int = 3) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return [f"{kind} {', '.join(sorted(names)[:shown])}{more}"]
