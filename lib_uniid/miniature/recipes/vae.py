"""The autoencoder: 128 x 128 pictures to 16 x 16 x 4 latents and back, in the official f8 layout.

Grown in two stages, because whole pictures at half size cost as little as crops at full size and fix the
latents four times sooner: first the three inner levels on pictures of 64 pixels, then all four on crops of
64 pixels, half of them around faces, with whole pictures among them. ldm's norms have 32 groups whatever the
width; 64 channels are the fewest that let a group norm pass a flat colour on.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_uniid.miniature.recipes.team import Course, Team
from lib_uniid.miniature.world import draw, sample_scenes

SEED = 11
CROP = 64
WIDTHS = (64, 64, 64, 128)


def new_vae(widths: tuple[int, ...] = WIDTHS) -> nn.Module:
    """An autoencoder with one level per width (four are the official f8)."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        norm_num_groups=32,
        sample_size=128,
    )


def whole(generator: torch.Generator, pictures: int) -> Tensor:
    """Whole pictures, ``[n 3 128 128]`` in [-1, 1]."""
    people = int(torch.randint(1, 4, (1,), generator=generator))
    return draw(sample_scenes(pictures, people, generator), generator) * 2 - 1


def crops(generator: torch.Generator, pictures: int) -> Tensor:
    """Four crops of each of some new pictures: two around faces, two anywhere, ``[4 pictures, 3, 64, 64]``."""
    people = int(torch.randint(1, 4, (1,), generator=generator))
    scene = sample_scenes(pictures, people, generator)
    drawn = draw(scene, generator) * 2 - 1
    middles = torch.stack([scene.at.x, scene.at.y], 1).reshape(pictures, people, 2)
    cut = []
    for index in range(pictures):
        for kind in range(4):
            corner = torch.rand(2, generator=generator) * (128 - CROP)
            if kind < 2:
                who = int(torch.randint(0, people, (1,), generator=generator))
                corner = middles[index, who] - CROP / 2 + torch.rand(2, generator=generator) * 20 - 10
            left, top = corner.clamp(0, 128 - CROP).int().tolist()
            cut.append(drawn[index, :, top : top + CROP, left : left + CROP])
    return torch.stack(cut)


def loss(vae: nn.Module, pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Colour, edges and a little KL; and what the log wants to know."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents = vae.encode(pixels).latent_dist
        noise = torch.randn(latents.mean.shape, generator=generator)
        restored = vae.decode(latents.mean + latents.std * noise).sample
    error = restored.float() - pixels
    edges = error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()
    total = error.abs().mean() + error.square().mean() + 0.7 * edges
    total = total + 3e-4 * latents.kl().float().mean() / latents.mean[0].numel()
    psnr = -10 * (error.detach() / 2).square().mean((1, 2, 3)).log10().mean()
    return total, {"psnr": psnr, "std": latents.mean.detach().float().std()}


def grow(inner: nn.Module, vae: nn.Module) -> None:
    """Put three trained inner levels into four; the new outermost level begins as doubling the picture's size.

    Decoder: the new upsampler copies, the new residuals add nothing, so the old picture comes out, twice as large.
    Encoder: its new level is taught to give what the old first convolution gave (:func:`lift_loss`).
    """
    kept = {}
    for key, value in inner.state_dict().items():
        parts = key.split(".")
        if key.startswith("encoder.down_blocks."):
            parts[2] = str(int(parts[2]) + 1)
        if not key.startswith("encoder.conv_in"):
            kept[".".join(parts)] = value
    state = vae.state_dict()
    for key in ("decoder.up_blocks.2.upsamplers.0.conv.weight", "encoder.down_blocks.0.downsamplers.0.conv.weight"):
        kept[key] = nn.init.dirac_(state[key].clone())
        kept[key.replace("weight", "bias")] = torch.zeros(len(state[key]))
    for key, value in state.items():
        if key.startswith(("decoder.up_blocks.3", "encoder.down_blocks.0")) and ".conv2." in key:
            kept[key] = torch.zeros_like(value)
    vae.load_state_dict(state | kept)


def lift_loss(inner: nn.Module, vae: nn.Module, pixels: Tensor) -> Tensor:
    """How far the new level's output is from the old first convolution on the picture at half size."""
    with torch.no_grad():
        wanted = inner.encoder.conv_in(F.avg_pool2d(pixels, 2))
    got = vae.encoder.down_blocks[0](vae.encoder.conv_in(pixels))
    return (got - wanted).square().mean() / wanted.square().mean()


def train(out: Path, inner_steps: int, steps: int) -> None:
    """Train both stages and write ``out/vae.pt`` (state dict in diffusers' names)."""
    team = Team.join()
    torch.manual_seed(SEED)
    inner, generator = new_vae(WIDTHS[1:]), team.generator(SEED)
    course = Course(team=team, module=inner, steps=inner_steps, rate=2e-3, log=out / "vae-inner.jsonl", weight_decay=0.0)
    for step in course.run():
        pixels = F.avg_pool2d(whole(generator, 6), 2)
        step.loss, step.notes = loss(inner, pixels, generator)
    vae = new_vae()
    grow(inner, vae)
    outermost = [*vae.encoder.conv_in.parameters(), *vae.encoder.down_blocks[0].parameters()]
    course = Course(
        team=team, module=vae, parameters=outermost, steps=150, rate=2e-3, log=out / "vae-lift.jsonl", weight_decay=0.0
    )
    for step in course.run():
        step.loss = lift_loss(inner, vae, crops(generator, 2))
    course = Course(team=team, module=vae, steps=steps, rate=7e-4, log=out / "vae.jsonl", weight_decay=0.0)
    for step in course.run():
        pixels = whole(generator, 2) if step.number % 4 == 3 else crops(generator, 2)
        step.loss, step.notes = loss(vae, pixels, generator)
    if team.rank == 0:
        torch.save(vae.state_dict(), out / "vae.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--inner-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(arguments.out, arguments.inner_steps, arguments.steps)
