"""How near two results have to be."""

import torch
from torch import Tensor


def assert_near(actual: Tensor, expected: Tensor, within: float = 1e-5) -> None:
    """No element differs by more than ``within``, and shape and precision are the same."""
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=within)
