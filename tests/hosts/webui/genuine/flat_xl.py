"""A models folder with SDXL for a host that recognises a checkpoint by its shapes; see :mod:`.flat`.

Forge makes SDXL's VAE and text models in their full size, and its own sizes of heads and time embeddings; the
levels of the UNet may be alike. The checkpoint takes 2.4 GB.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_uniid.weights import without_values
from miniature.ldm_layout import sdxl_state
from tests.hosts.webui.genuine.flat import VAE
from tests.narrow_uniid import write_files
from tests.red_faces import write_pack

POOLED, TIME_WIDTH = 1280, 256
TEXT_WIDTHS = (768, 1280)
UNET: dict[str, Any] = {
    "sample_size": 16,
    "block_out_channels": (320,) * 3,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": 5,
    "cross_attention_dim": sum(TEXT_WIDTHS),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": TIME_WIDTH,
    "projection_class_embeddings_input_dim": POOLED + 6 * TIME_WIDTH,
}
TEXT: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
TEXT_2: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": POOLED,
    "hidden_act": "gelu",
}


def write_flat_models(root: Path, name: str = "flat-xl") -> Path:
    """Write everything at ``root``; the checkpoint lies beside it, and copies of the folder link to it."""
    checkpoints = root / "Stable-diffusion"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(0)
    unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    file = root.parent / f"{name}.safetensors"
    save_file(sdxl_state(unet, vae, *_texts()), file)
    (checkpoints / file.name).symlink_to(file)
    heads = "{params: {num_head_channels: 64}}"  # as Forge has them; the stand-alone host reads it
    (checkpoints / f"{name}.yaml").write_text(f"model: {{params: {{network_config: {heads}}}}}\n")
    write_files(root / "uniid", unet, TEXT_WIDTHS)
    write_pack(root / "insightface" / "models" / "buffalo_l")
    return root


def _texts() -> tuple[nn.Module, nn.Module]:
    with without_values():
        models = CLIPTextModel(CLIPTextConfig(**TEXT)), CLIPTextModelWithProjection(CLIPTextConfig(**TEXT_2))
    return _drawn(models[0]), _drawn(models[1])


def _drawn(model: nn.Module) -> nn.Module:
    """In half precision: the larger one has 0.7 billion values."""
    random = torch.Generator().manual_seed(1)
    model = nn.Module.half(model).to_empty(device="cpu").requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.fill_(1.0)
        else:
            parameter.normal_(std=0.03, generator=random)
    return model
