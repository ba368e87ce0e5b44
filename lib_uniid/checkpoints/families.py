"""Guesses the type of files that UniID does not use, for better error messages."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lib_uniid.bases import BASES, SDXL, Base
from lib_uniid.checkpoints.format import Names
from lib_uniid.checkpoints.formats import part_of
from lib_uniid.checkpoints.header import Header

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A type of file, recognised by names that match ``pattern``, and by ``test`` if names are ambiguous."""

    title: str
    pattern: str
    test: Callable[[Shapes], bool] = lambda _: True

    def matches(self, header: Header) -> bool:
        return Names(self.pattern).matches(header) and self.test(header.shapes)


def _reads_text_of(base: Base, shapes: Shapes) -> bool:
    """Whether the key projections of an IP-Adapter are as wide as the text of a base family."""
    widths = {shape[-1] for name, shape in shapes.items() if name.endswith("to_k_ip.weight")}
    return base.unet.context in widths


def _family_of(base: Base) -> Family:
    first, *others = base.marks
    return Family(
        title=base.checkpoint,
        pattern=re.escape(first),
        test=lambda shapes: all(any(name.startswith(mark) for name in shapes) for mark in others),
    )


# The first match is used, so the narrower ones come first.
FAMILIES = (
    Family(
        title=f"an IP-Adapter for {SDXL.title}",
        pattern=r"ip_adapter\.",
        test=lambda shapes: _reads_text_of(SDXL, shapes),
    ),
    Family(title="an IP-Adapter FaceID", pattern=r"ip_adapter\..*lora|image_proj\.proj\.\d"),
    Family(title="an IP-Adapter Plus", pattern=r"image_proj\.latents"),
    Family(title="an IP-Adapter", pattern=r"ip_adapter\.|image_proj\."),
    Family(title="a ControlNet", pattern=r"control_model\.|controlnet_"),
    Family(title=f"a refiner for {SDXL.title}", pattern=r"conditioner\.embedders\.0\.model\."),
    *map(_family_of, reversed(BASES)),
    Family(
        title="a Stable Diffusion UNet without its text model and VAE",
        pattern=r"model\.diffusion_model\.input_",
    ),
    Family(
        title="a Flux or SD3 model",
        pattern=r"(model\.diffusion_model\.)?(double|joint)_(transformer_)?blocks\.",
    ),
    Family(title="a LoRA", pattern=r"lora_(unet|te)|.*\.lora_(down|up|A|B)\.|.*lora_linear_layer\."),
    Family(title="a UNet in diffusers' layout", pattern=r"down_blocks\.0\.attentions\."),
    Family(title="a VAE", pattern=r"(first_stage_model\.)?(encoder|decoder)\.(conv_in|mid|mid_block)\."),
    Family(
        title="an image encoder in open_clip's layout",
        pattern=r"visual\.transformer\.|transformer\.resblocks\.",
    ),
    Family(title="a CLIP text model", pattern=r"(text_model|transformer\.text_model)\."),
    Family(title="a CLIP image encoder without its projection", pattern=r"vision_model\."),
    Family(title="an insightface iresnet recogniser", pattern=r"layer1\.0\.bn\d\."),
    Family(title="a textual inversion embedding", pattern=r"emb_params|string_to_param"),
)


def identify(header: Header) -> str:
    """A guess such as "a LoRA"; for an unknown type, a text with the first tensor's name."""
    for family in FAMILIES:
        if family.matches(header):
            return family.title
    if whole := part_of(header):
        return f"part of a {whole.title}"
    if not header.shapes:
        return "a file without tensors"
    return f"of an unknown type (its first tensor is {next(iter(header.shapes))})"
