"""Families of base models as values: everything that differs between them for the rest of the program."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetShape:
    """The shape of a UNet's cross-attention, by which families are recognised.

    Attributes:
        widths: channels of the queries of each cross-attention layer, in the order down, up, middle.
        context: channels of the text that they read.
    """

    widths: tuple[int, ...]
    context: int

    def is_a(self, family: "UNetShape") -> bool:
        """Whether a UNet of this shape is of a family of that shape, or a narrower copy of it.

        A copy has as many layers, none of them wider, and reads the family's text or a narrower one.
        """
        narrower = self.context < family.context and self.widths != family.widths
        return (
            (self.context == family.context or narrower)
            and len(self.widths) == len(family.widths)
            and all(ours <= theirs for ours, theirs in zip(self.widths, family.widths, strict=True))
        )

    def __str__(self) -> str:
        low, high = min(self.widths, default=0), max(self.widths, default=0)
        wide = f"{low}" if low == high else f"{low} to {high}"
        return (
            f"{len(self.widths)} cross-attention layers, {wide} channels wide, "
            f"for text of {self.context} channels"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoder:
    """A CLIP text model.

    Attributes:
        width: channels of the text that it gives.
        heads: of each attention layer.
        activation: transformers' name of the activation in each layer.
        prefix: how the names of its tensors begin in a checkpoint in the original layout.
        skipped: layers at the end whose states are not used. With 0 the text is the state after the final
            norm, else it is the state of an earlier layer, which has no norm.
        padding: the token after the end of a short text; None is the token of the end.
        pooled: whether its projected state of the end token is a condition of the UNet, too.
    """

    width: int
    heads: int
    activation: str
    prefix: str = ""
    skipped: int = 0
    padding: int | None = None
    pooled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One family.

    Attributes:
        title: how to call it in a sentence.
        checkpoint: how to call a checkpoint of it, with its article.
        marks: of a checkpoint in the original layout: how names of tensors begin, each for some tensor.
        pipeline: the class that the index of a diffusers folder names.
        unet: the shape of its UNet.
        unet_heads: of each attention layer, by level from the finest to the coarsest.
        unet_depths: cross-attention layers in each transformer, in the order down, up, middle.
        text_encoders: their texts are joined on the channels.
        betas: of the noise schedule, first and last; the square roots between them are evenly spaced.
        trained_steps: of the noise schedule.
        steps_offset: of the timesteps that sampling visits.
        pixels: per latent, on each side.
        latent_scale: what the VAE's latents are multiplied by.
        latent_side: of the pictures that it was trained on.
        latent_colours: red, green and blue of each latent channel, in [-1, 1], for rough pictures.
    """

    title: str
    checkpoint: str
    marks: tuple[str, ...]
    pipeline: str
    unet: UNetShape
    unet_heads: tuple[int, ...]
    unet_depths: tuple[int, ...]
    text_encoders: tuple[TextEncoder, ...]
    betas: tuple[float, float]
    trained_steps: int
    steps_offset: int
    pixels: int
    latent_scale: float
    latent_side: int
    latent_colours: tuple[tuple[float, float, float], ...]

    @property
    def unet_leaders(self) -> tuple[int, ...]:
        """The first cross-attention layer of each transformer, counted among the cross-attention layers."""
        return tuple(accumulate(self.unet_depths[:-1], initial=0))

    @property
    def latent_channels(self) -> int:
        """Channels of the VAE's latents."""
        return len(self.latent_colours)


_SD_WIDTHS = (*(320,) * 2, *(640,) * 2, *(1280,) * 2, *(1280,) * 3, *(640,) * 3, *(320,) * 3, 1280)
_SDXL_WIDTHS = (*(640,) * 4, *(1280,) * 20, *(1280,) * 30, *(640,) * 6, *(1280,) * 10)
_CLIP_L = TextEncoder(width=768, heads=12, activation="quick_gelu", prefix="cond_stage_model.transformer.")
_OPEN_CLIP_H = TextEncoder(width=1024, heads=16, activation="gelu", prefix="cond_stage_model.model.")
_CLIP_L_OF_SDXL = replace(_CLIP_L, prefix="conditioner.embedders.0.transformer.", skipped=1)
_OPEN_CLIP_BIG_G = TextEncoder(
    width=1280,
    heads=20,
    activation="gelu",
    prefix="conditioner.embedders.1.model.",
    skipped=1,
    padding=0,
    pooled=True,
)

# Latent colours are those of AUTOMATIC1111's ``cheap_approximation``, after
# https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204/2

SD15 = Base(
    title="Stable Diffusion 1.5",
    checkpoint="a Stable Diffusion 1.x checkpoint",
    marks=("model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.transformer."),
    pipeline="StableDiffusionPipeline",
    unet=UNetShape(widths=_SD_WIDTHS, context=768),
    unet_heads=(8, 8, 8, 8),
    unet_depths=(1,) * 16,
    text_encoders=(_CLIP_L,),
    betas=(0.00085, 0.012),
    trained_steps=1000,
    steps_offset=1,
    pixels=8,
    latent_scale=0.18215,
    latent_side=64,
    latent_colours=(
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
    ),
)

SD21 = replace(
    SD15,
    title="Stable Diffusion 2",
    checkpoint="a Stable Diffusion 2 checkpoint",
    marks=("cond_stage_model.model.",),
    unet=UNetShape(widths=_SD_WIDTHS, context=1024),
    unet_heads=(5, 10, 20, 20),
    text_encoders=(_OPEN_CLIP_H,),
    latent_side=96,
)
SDXL = Base(
    title="SDXL",
    checkpoint="an SDXL checkpoint",
    marks=("conditioner.embedders.",),
    pipeline="StableDiffusionXLPipeline",
    unet=UNetShape(widths=_SDXL_WIDTHS, context=2048),
    unet_heads=(5, 10, 20),
    unet_depths=(2, 2, 10, 10, 10, 10, 10, 2, 2, 2, 10),
    text_encoders=(_CLIP_L_OF_SDXL, _OPEN_CLIP_BIG_G),
    betas=(0.00085, 0.012),
    trained_steps=1000,
    steps_offset=1,
    pixels=8,
    latent_scale=0.13025,
    latent_side=128,
    latent_colours=(
        (0.3448, 0.4168, 0.4395),
        (-0.1953, -0.029, 0.025),
        (0.1074, 0.0886, -0.0163),
        (-0.373, -0.2499, -0.2088),
    ),
)

BASES = (SD15, SD21, SDXL)
"""The recognised families; of several that fit a narrow UNet or a pipeline's name, the first is taken."""

STANDALONE = (SD15, SDXL)
"""Those whose checkpoints the stand-alone host loads."""


def of_checkpoint(kind: str | None) -> Base | None:
    """The family that a checkpoint is of by what it is called; None for all others."""
    return next((base for base in BASES if base.checkpoint == kind), None)


def of_unet(shape: UNetShape) -> Base | None:
    """The family of a UNet by its shape; None for an unknown one."""
    fitting = [base for base in BASES if shape.is_a(base.unet)]
    return next((base for base in fitting if base.unet.context == shape.context), next(iter(fitting), None))


def of_pipeline(name: object) -> Base | None:
    """The family of a diffusers folder by the class in its index."""
    return next((base for base in BASES if base.pipeline == name), None)


def titles(bases: Iterable[Base]) -> str:
    """Their titles in a sentence."""
    return " or ".join(base.title for base in bases)
