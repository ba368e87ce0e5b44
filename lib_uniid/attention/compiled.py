"""Networks that ``torch.compile`` has compiled: compiled code ignores hooks that are set later."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

WRAPPED = "_orig_mod"
"""The name under which a compiled module keeps the one that it was made from."""

_KINDS = ("OptimizeContext", "OptimizedModule")


def original(module: nn.Module) -> nn.Module:
    """The module that a compiled one was made from; any other module itself."""
    inner = vars(module).get("_modules", {}).get(WRAPPED)
    return module if inner is None else original(inner)


@contextmanager
def suspended() -> Generator[None]:
    """Have torch run compiled networks as they are written for as long as the context lasts.

    What was compiled stays so and is used again afterwards. ``torch._dynamo.reset`` would not be enough: the
    self-attention would compile the cross-attention's code anew, without hooks. Before torch 2.6 there is no
    such switch; the hooks' own count then shows whether they were called.
    """
    compiler = getattr(torch, "compiler", None) if "torch._dynamo" in sys.modules else None
    stance: Any = getattr(compiler, "set_stance", None)
    if stance is None:
        yield
        return
    with stance("force_eager"):
        yield


def called_by_compiled() -> bool:
    """Whether a caller of this function is a compiled module, suspended or not."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    kinds = tuple(kind for name in _KINDS if (kind := getattr(dynamo, name, None)) is not None)
    frame = sys._getframe(1) if kinds else None  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if issubclass(type(frame.f_locals.get("self")), kinds):
            return True
        frame = frame.f_back
    return False
