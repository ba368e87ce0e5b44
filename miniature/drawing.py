"""Signed distances and paint: the drawn world's brushes.

Every shape is a signed distance in the units of its own coordinates (negative inside); :func:`cover` turns it
into an anti-aliased coverage in [0, 1], so nothing needs supersampling. All tensors are batched:
``[n height width]`` for distances and ``[n 3 height width]`` for colours.
"""

from torch import Tensor

from lib_uniid.typing import Float

SOFTNESS = 2.0
"""Pixels over which an edge fades: half the sharpness of the grid, which a narrow f8 autoencoder can keep."""


def cover(distance: Tensor, pixels_per_unit: Tensor | float = 1.0) -> Tensor:
    """Coverage of a pixel by the shape whose signed distance at its centre is ``distance``."""
    return (0.5 - distance * pixels_per_unit / SOFTNESS).clamp(0.0, 1.0)


def ellipse(x: Tensor, y: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Approximate distance to an axis-aligned ellipse around the origin (exact at the axes)."""
    reach = ((x / half_width) ** 2 + (y / half_height) ** 2 + 1e-9).sqrt()
    slope = ((x / half_width**2) ** 2 + (y / half_height**2) ** 2 + 1e-9).sqrt()
    return (reach - 1.0) * reach / slope


def box(x: Tensor, y: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Distance to an axis-aligned rectangle around the origin (Chebyshev outside the corners)."""
    return (x.abs() - half_width).maximum(y.abs() - half_height)


def stroke(
    x: Tensor, y: Tensor, half_length: Tensor | float, bow: Tensor | float, thickness: Tensor | float
) -> Tensor:
    """Distance to a brush stroke along x that bows by ``bow`` at its middle (down is positive)."""
    along = (x / half_length).clamp(-1.0, 1.0)
    off = (y - bow * (1.0 - along**2)).abs() - thickness
    return off.maximum(x.abs() - half_length)


def paint(canvas: Float[Tensor, "n 3 height width"], colour: Tensor, alpha: Tensor) -> Tensor:
    """Lay ``colour`` (``[n 3]``, or ``[n 3 height width]``) over the canvas where ``alpha`` covers it."""
    if colour.dim() == 2:
        colour = colour[:, :, None, None]
    return canvas + (colour - canvas) * alpha[:, None]
