"""Files in the official layouts with random weights, every width scaled down."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests import recorded
from tests.encoders.builders import backbone_state, transformers_clip
from tests.methods.uniid import builders as uniid

# Official size -> narrow one; multiples stay multiples.
_UNET = {128: 4, 320: 8, 640: 16, 1280: 32, 2560: 64, 768: 24, 1536: 48, 3072: 96}
_NARROW = {**_UNET, 1: 1, 16: 16, 512: 10, 1024: 20, 1728: 14, 3456: 28}

_GROUPS = recorded.notes("state_dict_layout_full")["groups"]


def official_shapes(group: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one dictionary of a published file."""
    return {name: tuple(shape) for name, shape in _GROUPS[group].items()}


def narrow(group: str, seed: int = 0) -> dict[str, Tensor]:
    """One dictionary of a published file, narrow."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn([_NARROW[side] for side in shape], generator=generator).half()
        for name, shape in official_shapes(group).items()
    }


def faceid(seed: int = 0) -> dict[str, dict[str, Tensor]]:
    return {
        "faceid_proj": narrow("faceid_file.faceid_proj", seed),
        "faceid_adapter": narrow("faceid_file.faceid_adapter(expected)", seed),
    }


def router(seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """With the copy of the identity K/V that the published file has and nothing reads."""
    used = narrow("router_file.faceid_adapter(expected,used)", seed)
    copy = {name: t for name, t in faceid(seed)["faceid_adapter"].items() if "_faceid." in name}
    return {"faceid_adapter": {**used, **copy}}


def write(path: Path, content: object, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    return path


def write_all(root: Path) -> Path:
    """A models folder with every weights file, under names that say nothing."""
    write(root / "a" / "one.bin", faceid())
    write(root / "b" / "two.pt", router())
    write(root / "three.pth", backbone_state())
    write(root / "c" / "encoder" / "four.bin", transformers_clip().state_dict())
    for name, content in uniid.FILES.items():
        write(root / name / "five.bin", content())
    return root


class Hostile:
    """Unpickled by the usual means, it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def hostile_pickle(trace: Path) -> bytes:
    return pickle.dumps({"weights": Hostile(trace)}, protocol=2)
