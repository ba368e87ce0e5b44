"""Files that a user would have beside ours: a LoRA, and a second checkpoint to refine with."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from lib_uniid.attention.sites import find_sites
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.checkpoints.reading import read
from lib_uniid.hosts.diffusers.ldm import networks
from lib_uniid.hosts.diffusers.ldm_hints import hints_beside

LORA, REFINER = "somebodys", "zz-refiner"
"""Their names; the refiner's comes last, so that the host begins with the other checkpoint."""


def write_beside(models: Path) -> None:
    """A LoRA of random weights for every attention layer, and the folder's checkpoint by another name."""
    base = ModelFolder(models).find("base")
    write_lora(base, models / "Lora" / f"{LORA}.safetensors")
    for path in base.parent.glob(f"{base.stem}.*"):
        path.with_stem(REFINER).symlink_to(path.name)


def write_lora(checkpoint: Path, path: Path, rank: int = 4) -> None:
    """In the layout of most files: diffusers' names, a pair of factors for each layer."""
    unet = networks(read(checkpoint), hints_beside(checkpoint), checkpoint.name).unet
    random = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    for site in find_sites(unet):
        for name, layer in site.projections.items():
            inner = f"{site.name}.{name}".replace("to_out", "to_out.0").replace(".", "_")
            shapes = {"down": (rank, layer.in_features), "up": (layer.out_features, rank)}
            for part, shape in shapes.items():
                weight = 0.1 * torch.randn(shape, generator=random)
                state[f"lora_unet_{inner}.lora_{part}.weight"] = weight
            state[f"lora_unet_{inner}.alpha"] = torch.tensor(float(rank))
    path.parent.mkdir()
    save_file(state, path)
