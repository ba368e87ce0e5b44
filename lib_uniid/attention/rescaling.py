"""Normalized rescaling: a branch gets the norm of the text attention (UniID, ``IPAttnProcessor2_0``).

Pure functions, in float32: in float16 the product of an output and a norm can exceed what the type holds.
"""

import torch
from torch import Tensor

from lib_uniid.typing import Float

EPSILON = 1e-6
"""From the official code: added to the norms of all rows as soon as one of them is below it."""


def ratio(text: Float[Tensor, "b n d"], branch: Float[Tensor, "b n d"]) -> Float[Tensor, "b 1 1"]:
    """What the branch is multiplied by to have, in each row, the text attention's norm over all its values.

    It is made of both before the layer's last projection. No value is read back from the device.
    """
    wanted, own = norm(text, (1, 2)), norm(branch, (1, 2))
    tiny = (own < EPSILON).any()
    return wanted / (own + EPSILON * tiny)


def norm(x: Tensor, over: tuple[int, ...]) -> Tensor:
    """The L2 norm over these dimensions, which are kept, in float32."""
    return torch.linalg.vector_norm(x, dim=over, keepdim=True, dtype=torch.float32)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
