"""Normalized rescaling: a branch gets the norm of the text attention (UniID, ``IPAttnProcessor2_0``).

Pure functions, in float32: in float16 the product of an output and a norm can exceed what the type holds.
"""

import torch
from torch import Tensor

from lib_uniid.typing import Float

EPSILON = 1e-6
"""From the official code: added to the norms of all rows as soon as one of them is below it."""


def ratio(
    text: Float[Tensor, "b n d"],
    branch: Float[Tensor, "b n d"],
    unguided: Float[Tensor, "b 1 1"] | None = None,
) -> Float[Tensor, "b 1 1"]:
    """What the branch is multiplied by to have, in each row, the text attention's norm over all its values.

    It is made of both before the layer's last projection. ``unguided`` has 1 in rows that have no branch and
    0 elsewhere: such rows do not count as tiny. No value is read back from the device.
    """
    wanted, own = norm(text, (1, 2)), norm(branch, (1, 2))
    if unguided is not None:
        own = own + unguided
    return wanted / torch.add(own, (own < EPSILON).any(), alpha=EPSILON)


def times(x: Float[Tensor, "b n d"], factor: Float[Tensor, "b 1 1"]) -> Float[Tensor, "b n d"]:
    """The product, computed in float32 and given in the precision of ``x``."""
    if x.dtype == factor.dtype or torch.is_grad_enabled():
        return (x * factor).to(x.dtype)
    return torch.mul(x, factor, out=torch.empty_like(x))  # one operation


def norm(x: Tensor, over: tuple[int, ...]) -> Tensor:
    """The L2 norm over these dimensions, which are kept, in float32."""
    return torch.linalg.vector_norm(x, dim=over, keepdim=True, dtype=torch.float32)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
