"""Families of base models as values: all that the rest of the program knows of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One family.

    Attributes:
        title: how to call it in a sentence.
        checkpoint: how to call a checkpoint of it, with its article.
        marks: of a checkpoint in the original layout: how names of tensors begin, each for some tensor.
        pipeline: the class that the index of a diffusers folder names.
        sites: attention layers of the UNet, self and cross.
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
    sites: int
    betas: tuple[float, float]
    trained_steps: int
    steps_offset: int
    pixels: int
    latent_scale: float
    latent_side: int
    latent_colours: tuple[tuple[float, float, float], ...]

    @property
    def remedy(self) -> str:
        """What to do where a checkpoint of this family is needed."""
        return f"load a {self.title} checkpoint"


SD15 = Base(
    title="Stable Diffusion 1.5",
    checkpoint="a Stable Diffusion 1.x checkpoint",
    marks=("model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.transformer."),
    pipeline="StableDiffusionPipeline",
    sites=32,
    betas=(0.00085, 0.012),
    trained_steps=1000,
    steps_offset=1,
    pixels=8,
    latent_scale=0.18215,
    latent_side=64,
    # AUTOMATIC1111's ``cheap_approximation``, after
    # https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204/2
    latent_colours=(
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
    ),
)

BASES = (SD15,)
"""Those that some method works with."""


def of_checkpoint(kind: str | None) -> Base | None:
    """The family that a checkpoint is of by what it is called; None for all others."""
    return next((base for base in BASES if base.checkpoint == kind), None)


def of_unet(sites: int) -> Base | None:
    """The family whose UNet has so many attention layers; a method looks at their widths by itself."""
    return next((base for base in BASES if base.sites == sites), None)


def of_pipeline(name: object) -> Base | None:
    """The family of a diffusers folder by the class in its index."""
    return next((base for base in BASES if base.pipeline == name), None)


def titles() -> str:
    """All of them in a sentence."""
    return " or ".join(base.title for base in BASES)
