"""The files of UniID, narrow, with weights that follow from their names."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lib_uniid.bases import SDXL
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch
from lib_uniid.methods.uniid.formats.adapter_branch import MODULES, SITES
from lib_uniid.methods.uniid.formats.router import MODULES as ROUTER_MODULES
from lib_uniid.methods.uniid.loading import Projections, Weights
from lib_uniid.methods.uniid.text_branch import TextBranch
from tests import recorded_uniid as recorded

_WIDE = {1536: 128, 3072: 256}
_TEXT = {**_WIDE, 512: 16, 1024: 20, 768: 64, 1280: 128, 2304: 192, 3840: 384, 5120: 512, 2560: 256}
_ADAPTER = {**_WIDE, 25: 5, 768: 64, 448: 36, 512: 16, 2048: 192, 640: 8, 1280: 12}
_RECOGNISER = {64: 8, 128: 12, 256: 16, 512: 16, 25088: 784}

Shapes = dict[str, tuple[int, ...]]


def official(name: str) -> Shapes:
    """Names and shapes of a published file."""
    return {key: tuple(shape) for key, shape in recorded.written(f"keys_{name}")["keys"].items()}


def narrow(shapes: Shapes, sizes: Mapping[int, int]) -> dict[str, Tensor]:
    """The file with other sizes."""
    return recorded.state(
        {name: [sizes.get(side, side) for side in shape] for name, shape in shapes.items()}, "narrow:"
    )


def text_branch() -> dict[str, Tensor]:
    return narrow(official("text_branch"), _TEXT)


def adapter_branch() -> dict[str, Tensor]:
    return narrow(official("adapter_branch"), _ADAPTER)


def recogniser() -> dict[str, Tensor]:
    """With a third of the blocks."""
    kept = {
        name: shape
        for name, shape in official("iresnet100").items()
        if not name.startswith("layer") or int(name.split(".")[1]) < (4 if "layer3" in name else 2)
    }
    return narrow(kept, _RECOGNISER)


def router(width: int | None = None) -> dict[str, Tensor]:
    """The router's file for the tokens of :func:`adapter_branch`; ``width`` is of all attention layers."""
    shapes: Shapes = {}
    for leader in SDXL.unet_leaders:
        own = width or _ADAPTER[SDXL.unet.widths[leader]]
        name, inner, context, tokens = f"{ROUTER_MODULES}{2 * leader + 1}", own + 4, 192, 5
        shapes |= {
            f"{name}.to_q_router.0.weight": (inner, own),
            f"{name}.to_q_router.0.bias": (inner,),
            f"{name}.to_q_router.2.weight": (own, inner),
            f"{name}.to_k_router.0.weight": (2 * context, context),
            f"{name}.to_k_router.0.bias": (2 * context,),
            f"{name}.to_k_router.2.weight": (own, 2 * context),
            f"{name}.aggr_router.weight": (1, tokens),
            f"{name}.aggr_router.bias": (1,),
        }
    return narrow(shapes, {})


WIDTH, TEXT_WIDTHS = 32, (64, 128)
"""Of the attention layers of :func:`weights`, and of its text encoders."""


def weights() -> Weights:
    """Both branches, for a narrow SDXL whose attention layers all have one width."""
    adapter = bare(narrow(official("adapter_branch"), {**_ADAPTER, 640: WIDTH, 1280: WIDTH}))
    projections = {
        site: Projections(
            to_k=adapter.pop(f"{MODULES}{site}.to_k_ip.weight"),
            to_v=adapter.pop(f"{MODULES}{site}.to_v_ip.weight"),
        )
        for site in range(1, SITES, 2)
    }
    return Weights(
        text=TextBranch.from_state_dict(bare(text_branch())),
        adapter=AdapterBranch.from_state_dict(adapter),
        projections=projections,
    )


def features(seed: int = 0, references: int = 1) -> IDFeatures:
    """Of one person, as the narrow recogniser's."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embedding": (16,), "tap1": (8, 56, 56), "tap2": (12, 28, 28)}
    shapes |= {"tap3": (16, 14, 14), "tap4": (16, 7, 7)}
    tensors = {name: torch.randn(references, *shape, generator=generator) for name, shape in shapes.items()}
    return IDFeatures(tensors=tensors, fingerprint="r100", references=references)


def null() -> IDFeatures:
    """The null identity."""
    one = features()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in one.tensors.items()}
    return replace(one, tensors=zeros)


def bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix of all names."""
    return {name.partition(".")[2]: tensor for name, tensor in state.items()}


FILES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "iresnet100": recogniser,
    "text_branch": text_branch,
    "adapter_branch": adapter_branch,
    "uniid_router": router,
}
