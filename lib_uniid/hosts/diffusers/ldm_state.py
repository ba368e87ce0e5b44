"""What the readers of a checkpoint's parts share."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lib_uniid.weights import load_exactly

State = Mapping[str, Tensor]


def indices(names: Iterable[str], pattern: str) -> list[int]:
    """The numbers in the pattern's group over all names, sorted."""
    return sorted({int(found[1]) for key in names if (found := re.match(pattern, key))})


def load(module: nn.Module, state: State, part: str) -> None:
    """Load exactly these tensors into a network that is not trained."""
    load_exactly(module, state, part)
    module.requires_grad_(False).eval()
