"""A start-up hook for the development environment, never part of the product.

Some package registries pair a CPU build of torch with a GPU build of torchvision. The latter's library then
fails to load, and ``import torchvision`` stops with "operator torchvision::nms does not exist", although
nothing here calls that operator. ``dev.py`` copies this file into such an environment, with a ``.pth`` file
that imports it when Python starts: on the first import of torchvision the two operators are declared, without
code behind them. Nothing heavy is imported before that.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class DeclaringLoader(SourceFileLoader):
    """Loads torchvision after declaring the operators that torch lacks."""

    def exec_module(self, module: ModuleType) -> None:
        """Declare, then run ``torchvision/__init__.py``."""
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in SCHEMAS:
            name = schema.partition("(")[0]
            if not hasattr(torch.ops.torchvision, name):
                library.define(schema)
        module.__dict__["_declared_operators"] = library  # they are removed with the Library object
        super().exec_module(module)


class TorchvisionFinder:
    """Finds only torchvision, with :class:`DeclaringLoader`."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The usual spec with the loader replaced, or None for every other module."""
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = DeclaringLoader(name, spec.origin)
        return spec


sys.meta_path.insert(0, TorchvisionFinder)
