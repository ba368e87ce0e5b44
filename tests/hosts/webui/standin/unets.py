"""Narrow UNets with the calling convention of the hosts, all of the same weights."""

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import Tensor, nn

from miniature import ldm_layout
from tests import narrow_xl
from tests.ldm import ldm_module
from tests.narrow import TEXT_WIDTH, UNET_CONFIG, WIDTH


class DiffusersUNet(UNet2DConditionModel):
    """Called as the hosts call theirs."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x, timesteps, context, return_dict=False)[0]


class XLUNet(UNet2DConditionModel):
    """SDXL's, called as the hosts call theirs; the numbers on the size are the same for all pictures."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor, **_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        numbers = torch.tensor([128.0, 128.0, 0.0, 0.0, 128.0, 128.0]).expand(len(x), -1)
        conditions = {"text_embeds": y, "time_ids": numbers}
        return super().forward(x, timesteps, context, added_cond_kwargs=conditions, return_dict=False)[0]


def xl_unet() -> nn.Module:
    torch.manual_seed(10)
    return XLUNet(**narrow_xl.UNET_CONFIG).eval().requires_grad_(False)


class OtherUNet(DiffusersUNet):
    """One of another family, which reads only the beginning of each text token."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x, timesteps, context[..., : self.config["cross_attention_dim"]])


def diffusers_unet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return DiffusersUNet(**UNET_CONFIG).eval().requires_grad_(False)


def ldm_unet(seed: int = 0) -> nn.Module:
    """The hosts' own UNet, with the weights of ``diffusers_unet``; skips where its package is missing."""
    package = ldm_module("openaimodel")
    unet: nn.Module = package.UNetModel(
        image_size=16,
        in_channels=4,
        out_channels=4,
        model_channels=WIDTH,
        attention_resolutions=[4, 2, 1],
        num_res_blocks=2,
        channel_mult=[1, 1, 2, 2],
        num_heads=8,
        use_spatial_transformer=True,
        transformer_depth=1,
        context_dim=TEXT_WIDTH,
        use_checkpoint=False,
        legacy=False,
    )
    unet.load_state_dict(_ldm_names(diffusers_unet(seed)))
    return unet.eval().requires_grad_(False)


def _ldm_names(unet: nn.Module) -> dict[str, Tensor]:
    def convert(names: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
        prefixed = {f"model.diffusion_model.{name}": number for name, number in names.items()}
        return convert_ldm_unet_checkpoint(prefixed, config)

    return ldm_layout._renamed(unet, "", ldm_layout._unet_names(unet), convert)  # pyright: ignore[reportPrivateUsage]
