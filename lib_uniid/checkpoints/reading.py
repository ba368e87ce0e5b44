"""Safe reading of tensors from weights files."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import no_type_check

from torch import Tensor

from lib_uniid.checkpoints.header import Header, read_header
from lib_uniid.checkpoints.pickled import flatten
from lib_uniid.errors import UnknownCheckpointError


def read(path: Path, header: Header | None = None, *, mapped: bool = False) -> dict[str, Tensor]:
    """All tensors of a safetensors or PyTorch file, on the CPU, by flat name.

    Names of nested dictionaries (``{"image_proj": {...}}``) are joined with dots; ``Format.groups`` splits
    them again. No code in the file is run. ``header`` is the file's, if it was read before. With ``mapped``
    the tensors stay in the file where its container allows it: safetensors, and PyTorch's zip files.

    Raises:
        MissingModelError: the file does not exist.
        UnknownCheckpointError: damaged, hostile, or not weights; values that are NaN or infinite.
    """
    state = _tensors(path, header or read_header(path), mapped)
    require_finite_tensors(state, path.name)
    return state


def require_finite_tensors(state: Mapping[str, Tensor], name: str) -> None:
    """Raise UnknownCheckpointError, with the first tensor, if values are NaN or infinite."""
    broken = not_finite(state)
    if broken:
        raise UnknownCheckpointError(
            f"{name} is damaged: {broken[0]} holds values that are NaN or infinite "
            f"({len(broken)} such tensors); download it again"
        )


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors with NaN or infinite values."""
    return [name for name, tensor in state.items() if not _is_finite(tensor)]


@no_type_check  # called for every tensor
def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.element_size() <= 2:  # float8 has no comparisons, nor float16 on a CPU in torch 2.1
        tensor = tensor.float()
    low, high = tensor.aminmax()  # both propagate NaN; nothing is copied
    return math.isfinite(low.item()) and math.isfinite(high.item())


def _tensors(path: Path, header: Header, mapped: bool) -> dict[str, Tensor]:
    if header.container == "safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise UnknownCheckpointError(
                f"{path.name} is a damaged or truncated safetensors file ({error}); download it again"
            ) from error
    import torch

    try:
        mapped = mapped and zipfile.is_zipfile(path)
        # torch 2.1 maps only a file that is given as a text.
        content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
        flat = flatten(content)
    except Exception as error:  # torch raises nearly any error for a damaged file
        raise UnknownCheckpointError(
            f"{path.name} is a truncated or damaged PyTorch file ({error}); download it again"
        ) from error
    return {name: value for name, value in flat.items() if isinstance(value, Tensor)}
