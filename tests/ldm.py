"""The original code's own networks, which the WebUIs use, without all that it asks for beside them."""

import sys
from types import ModuleType
from typing import Any

import pytest


def ldm_module(name: str) -> Any:
    """A module of ``ldm.modules.diffusionmodules``; skips where the package is missing."""
    if "omegaconf" not in sys.modules:  # looked up for one isinstance check
        for one in ("omegaconf", "omegaconf.listconfig"):
            sys.modules[one] = ModuleType(one)
        setattr(sys.modules["omegaconf.listconfig"], "ListConfig", type("ListConfig", (), {}))  # noqa: B010
    return pytest.importorskip(f"ldm.modules.diffusionmodules.{name}")
