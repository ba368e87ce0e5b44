"""Random-weight models in the official layouts, only narrower, so that every loader and the CLI can run."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from lib_uniid.attention.sites import find_sites
from lib_uniid.encoders.curricularface import BackboneSizes, CurricularFace
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter
from lib_uniid.methods.uniportrait.tokens import Resampler
from miniature.ldm_layout import ldm_state
from tests.red_faces import write_pack

WIDTH, TEXT_WIDTH = 32, 48
LATENT_SIDE = 16
BACKBONE_WIDTHS, CLIP_WIDTH, TOKENS = (8, 12, 16, 24), 32, 4

UNET_CONFIG: dict[str, Any] = {
    "sample_size": LATENT_SIDE,
    "block_out_channels": (WIDTH, WIDTH, 2 * WIDTH, 2 * WIDTH),
    "layers_per_block": 2,
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 8,
}
VAE_CONFIG: dict[str, Any] = {
    "block_out_channels": (WIDTH,) * 4,
    "layers_per_block": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}


def narrow_unet(seed: int = 0) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(**UNET_CONFIG).eval()


def narrow_vae(seed: int = 1) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(**VAE_CONFIG).eval()


def narrow_text_model(seed: int = 2) -> CLIPTextModel:
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        hidden_size=TEXT_WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=12
    )
    return CLIPTextModel(config).eval()


def narrow_state() -> dict[str, Tensor]:
    """A whole checkpoint in the ldm layout."""
    return ldm_state(narrow_unet(), narrow_vae(), narrow_text_model())


def write_checkpoint(folder: Path, name: str = "narrow") -> Path:
    """A single-file checkpoint with the ``.yaml`` beside it that A1111 would read."""
    path = folder / f"{name}.safetensors"
    save_file(narrow_state(), path)
    config = {
        "model": {
            "params": {
                "image_size": LATENT_SIDE,
                "scale_factor": 0.18215,
                "unet_config": {"params": {"num_heads": 8}},
                "cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"},
            }
        }
    }
    path.with_suffix(".yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def write_models(root: Path) -> Path:
    """A models folder with everything that a generation with people needs."""
    for folder in ("Stable-diffusion", "uniid/image_encoder"):
        (root / folder).mkdir(parents=True)
    write_checkpoint(root / "Stable-diffusion")
    write_pack(root / "insightface" / "models" / "buffalo_l")
    adapter = _adapter()
    faceid = {"faceid_proj": _resampler().state_dict(), "faceid_adapter": adapter.faceid.state_dict()}
    torch.save(faceid, root / "uniid" / "uniportrait-faceid_sd15.bin")
    assert adapter.router
    router = {"faceid_adapter": adapter.router.state_dict()}
    torch.save(router, root / "uniid" / "uniportrait-router_sd15.bin")
    torch.save(_backbone().state_dict(), root / "uniid" / "glint360k_curricular_face_r101_backbone.bin")
    save_file(_clip_vision(), root / "uniid" / "image_encoder" / "model.safetensors")
    config = json.dumps({"num_attention_heads": 2, "hidden_act": "gelu"})
    (root / "uniid" / "image_encoder" / "config.json").write_text(config)
    return root


def _adapter() -> UniPortraitAdapter:
    torch.manual_seed(3)
    adapter = UniPortraitAdapter.for_sites(find_sites(narrow_unet()), rank=2)
    adapter.add_router(TOKENS)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(0.1 * torch.randn_like(parameter))
    return adapter


def _resampler() -> Resampler:
    torch.manual_seed(4)
    return Resampler(
        intrinsic_id_embedding_dim=BACKBONE_WIDTHS[-1],
        structure_embedding_dim=sum(BACKBONE_WIDTHS[:-1]) + CLIP_WIDTH,
        num_tokens=TOKENS,
        depth=1,
        dim=64,
        heads=1,
        output_dim=TEXT_WIDTH,
    )


def _backbone() -> CurricularFace:
    torch.manual_seed(5)
    return CurricularFace(BackboneSizes(stem=4, widths=BACKBONE_WIDTHS, input_size=56, embedding=16))


def _clip_vision() -> dict[str, Tensor]:
    torch.manual_seed(6)
    config = CLIPVisionConfig(
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=224,
        patch_size=56,
        hidden_act="gelu",
    )
    state = CLIPVisionModelWithProjection(config).state_dict()
    return {key: tensor.contiguous() for key, tensor in state.items() if not key.endswith("position_ids")}
