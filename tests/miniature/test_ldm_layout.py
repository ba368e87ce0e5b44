"""A checkpoint written in the ldm layout loads as any other and computes the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from lib_uniid.checkpoints.reading import read
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.hosts.diffusers.ldm import networks
from lib_uniid.hosts.diffusers.ldm_hints import hints_beside
from miniature.assemble import write_base
from miniature.recipes.base import new_base
from miniature.recipes.vae import new_vae
from tests.ldm import ldm_module


def trained(folder: Path) -> None:
    torch.manual_seed(0)
    torch.save(new_base().state_dict(), folder / "base.pt")
    torch.save(new_vae().state_dict(), folder / "vae.pt")
    torch.save({"scale": 0.4}, folder / "pictures.pt")


def test_the_miniature_checkpoint_loads_through_the_product_and_the_vae_keeps_what_it_did(
    tmp_path: Path,
) -> None:
    trained(tmp_path)
    write_base(tmp_path, tmp_path)
    path = tmp_path / "uniid-miniature.safetensors"
    loaded: Any = networks(read(path), hints_beside(path), path.name)
    vae, state = new_vae(), torch.load(tmp_path / "vae.pt", weights_only=True)
    vae.load_state_dict(state)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        ours = vae.encode(pixels).latent_dist.mean
        theirs = loaded.vae.float().encode(pixels).latent_dist.mean
        assert torch.allclose(theirs * 0.18215, ours * 0.4, atol=2e-2)  # half precision in between
        again = loaded.vae.decode(theirs).sample
        assert torch.allclose(again, vae.decode(ours).sample, atol=2e-2)
    assert loaded.unet.config.block_out_channels == (64, 64, 128, 64)
    assert loaded.text_models[0].config.num_attention_heads == 4


def test_what_the_yaml_describes_is_what_the_file_has(tmp_path: Path) -> None:
    """Built by ldm itself, as A1111 does."""
    autoencoder = ldm_module("model")
    trained(tmp_path)
    write_base(tmp_path, tmp_path)
    state = read(tmp_path / "uniid-miniature.safetensors")
    params = yaml.safe_load((tmp_path / "uniid-miniature.yaml").read_text())["model"]["params"]
    sizes = params["first_stage_config"]["params"]["ddconfig"]
    for prefix, module in (
        ("model.diffusion_model.", ldm_module("openaimodel").UNetModel(**params["unet_config"]["params"])),
        ("first_stage_model.encoder.", autoencoder.Encoder(**sizes)),
        ("first_stage_model.decoder.", autoencoder.Decoder(**sizes)),
    ):
        part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        differences = module.load_state_dict(part, strict=False)
        assert not differences.missing_keys
        assert not differences.unexpected_keys


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    trained(tmp_path)
    write_base(tmp_path, tmp_path)
    path = tmp_path / "uniid-miniature.safetensors"
    state = read(path)
    del state["model.diffusion_model.middle_block.1.norm.weight"]
    save_file(state, path)
    with pytest.raises(CheckpointMismatchError, match="UNet"):
        networks(read(path), hints_beside(path), path.name)
