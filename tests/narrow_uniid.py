"""UniID's three files with random weights, for a UNet and text encoders of any width."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_uniid.attention.sites import find_sites
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch
from lib_uniid.methods.uniid.text_branch import TextBranch
from tests import narrow_xl
from tests.methods.uniid.builders import recogniser
from tests.red_faces import write_pack

EMBEDDING, TAPS = 16, (8, 12, 16, 16)
"""Sizes of the narrow recogniser."""

TOKENS, FACE_TOKENS = 3, 5


def write_files(folder: Path, unet: nn.Module, text_widths: tuple[int, int]) -> None:
    """The recogniser and both branches, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(recogniser(), folder / "iresnet100.safetensors")
    torch.manual_seed(20)
    text = TextBranch(
        embedding=EMBEDDING,
        hidden=32,
        tap=TAPS[-1],
        widths=text_widths,
        tokens=TOKENS,
        depth=1,
        heads=(1, 1),
        mult=2,
    )
    adapter = AdapterBranch(
        tokens=FACE_TOKENS,
        shallow=sum(TAPS[:-1]),
        deep=TAPS[-1],
        dim=64,
        depth=1,
        heads=1,
        mult=2,
        outputs=sum(text_widths),
    )
    save_file(_prefixed("text_branch.", text.state_dict()), folder / "uniid-text_branch_sdxl.safetensors")
    state = adapter.state_dict() | _projections(unet, sum(text_widths))
    save_file(_prefixed("adapter_branch.", state), folder / "uniid-adapter_branch_sdxl.safetensors")


def write_models(root: Path) -> Path:
    """A models folder with a narrow SDXL checkpoint and everything that a generation with people needs."""
    checkpoints = root / "Stable-diffusion"
    checkpoints.mkdir(parents=True)
    narrow_xl.write_checkpoint(checkpoints, working_folder="models/Stable-diffusion/")
    widths = narrow_xl.TEXT_WIDTH, narrow_xl.TEXT_WIDTH_2
    write_files(root / "uniid", narrow_xl.narrow_unet(), widths)
    write_pack(root / "insightface" / "models" / "buffalo_l")
    return root


def _projections(unet: nn.Module, tokens: int) -> dict[str, Tensor]:
    return {
        f"adapter_modules.{site.index}.{name}.weight": 0.3 * torch.randn(site.width, tokens)
        for site in find_sites(unet)
        if site.cross
        for name in ("to_k_ip", "to_v_ip")
    }


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor.half().contiguous() for name, tensor in state.items()}
