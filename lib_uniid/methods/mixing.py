"""A person who is a mix of several: an interpolation of tokens, for every method."""

import math
from collections.abc import Sequence

from torch import Tensor

from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float


def mix(
    master: Float[Tensor, "k d"], others: Sequence[Float[Tensor, "k d"]], weights: Sequence[float]
) -> Float[Tensor, "k d"]:
    """Interpolate identities: ``(1 - sum(weights)) master + sum(weights_j others_j)``, not normed again.

    Weights that sum to more than 1 move away from the master. Uncond tokens are never mixed.
    Raises ConfigError when the numbers of others and weights differ, or a weight is not finite.
    """
    if len(others) != len(weights):
        raise ConfigError(
            f"{len(others)} identities to mix in but {len(weights)} weights; give one weight each"
        )
    if not all(math.isfinite(weight) for weight in weights):
        raise ConfigError(f"mixing weights must be finite numbers, got {list(weights)}")
    mixed = (1.0 - sum(weights)) * master
    for other, weight in zip(others, weights, strict=True):
        mixed = mixed + weight * other
    return mixed
