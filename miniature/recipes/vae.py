"""The autoencoder: 128 x 128 pictures to 16 x 16 x 4 latents and back, in the official f8 layout.

Grown from the inside, because what is hard is to keep a face in a few dozen numbers, and that can be learnt
on small crops: first the three inner levels on pictures of half the size, mostly 32-pixel crops around faces;
then the outermost level alone; then all four levels on full-size crops and whole pictures; last the decoder
alone, which leaves latents what they are, so that whatever has learnt from them stays valid.
ldm's norms have 32 groups whatever the width, so the outermost level has 64 channels: with 32, a group norm
before the last convolution would forget every flat colour.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from miniature.recipes.course import Course
from miniature.recipes.team import Team
from miniature.world import SIZE, Scene, draw, sample_scenes

SEED = 11
WIDTHS = (64, 32, 64, 64)
HALF = SIZE // 2


def new_vae(widths: tuple[int, ...] = WIDTHS) -> Any:
    """An autoencoder with one level per width (four are the official f8)."""
    from diffusers import AutoencoderKL

    build: Any = AutoencoderKL  # its stubs allow one level only
    return build(
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        norm_num_groups=32,
        sample_size=SIZE,
    )


def trained_vae(out: Path) -> Any:
    """What the recipe left in ``out``, ready to encode and decode."""
    vae = new_vae().eval()
    vae.load_state_dict(torch.load(out / "vae.pt", weights_only=True))
    return vae


def new_inner_vae() -> Any:
    """The three inner levels, with an output norm of their own that lets flat colours pass."""
    inner = new_vae(WIDTHS[1:])
    inner.decoder.conv_norm_out = nn.GroupNorm(4, WIDTHS[1], eps=1e-6)
    return inner


def pictures(generator: torch.Generator, count: int, size: int = SIZE) -> tuple[Tensor, Scene]:
    """Whole pictures ``[n 3 size size]`` in [-1, 1], all with the same number of people."""
    people = int(torch.randint(1, 4, (1,), generator=generator))
    scene = sample_scenes(count, people, generator, size=size)
    return draw(scene, generator) * 2 - 1, scene


def crops(generator: torch.Generator, count: int, size: int = SIZE) -> Tensor:
    """Crops of half a picture's side, three of each picture around its faces and one anywhere."""
    drawn, scene = pictures(generator, count, size)
    middles = torch.stack([scene.at.x, scene.at.y], 1).reshape(count, scene.people, 2)
    side, cut = size // 2, []
    for index in range(count):
        for kind in range(4):
            corner = torch.rand(2, generator=generator) * (size - side)
            if kind < 3:
                spread = (torch.rand(2, generator=generator) - 0.5) * size / 6
                corner = middles[index, kind % scene.people] - side / 2 + spread
            left, top = corner.clamp(0, size - side).int().tolist()
            cut.append(drawn[index, :, top : top + side, left : left + side])
    return torch.stack(cut)


def loss(vae: Any, pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Colour, edges and a little KL; and what the log wants to know."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents = vae.encode(pixels).latent_dist
        noise = torch.randn(latents.mean.shape, generator=generator)
        restored = vae.decode(latents.mean + latents.std * noise).sample
    error = restored.float() - pixels
    edges = error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()
    total = error.abs().mean() + error.square().mean() + 0.5 * edges
    total = total + 1e-4 * latents.kl().float().mean() / latents.mean[0].numel()
    psnr = -10 * (error.detach() / 2).square().mean((1, 2, 3)).log10().mean()
    return total, {"psnr": psnr, "std": latents.mean.detach().float().std()}


def grow(inner: nn.Module, vae: nn.Module) -> list[nn.Parameter]:
    """Put three trained levels into four and return the parameters of the new level.

    The new upsampler copies and the new residuals begin as nothing, so that the inner picture passes.
    """
    kept = {}
    for key, value in inner.state_dict().items():
        parts = key.split(".")
        if key.startswith("encoder.down_blocks."):
            parts[2] = str(int(parts[2]) + 1)
        if not key.startswith(("encoder.conv_in", "decoder.conv_out", "decoder.conv_norm_out")):
            kept[".".join(parts)] = value
    state = vae.state_dict()
    copying = "decoder.up_blocks.2.upsamplers.0.conv."
    kept[copying + "weight"] = nn.init.dirac_(state[copying + "weight"].clone())
    kept[copying + "bias"] = torch.zeros_like(state[copying + "bias"])
    new = ("encoder.conv_in", "encoder.down_blocks.0", "encoder.down_blocks.1.resnets.0.conv_shortcut")
    new += (
        "decoder.up_blocks.2.upsamplers",
        "decoder.up_blocks.3",
        "decoder.conv_norm_out",
        "decoder.conv_out",
    )
    for key, value in state.items():
        if key.startswith(("decoder.up_blocks.3", "encoder.down_blocks.0")) and ".conv2." in key:
            kept[key] = torch.zeros_like(value)
    fitting = {key: value for key, value in kept.items() if key in state and state[key].shape == value.shape}
    vae.load_state_dict(state | fitting)
    fresh = state.keys() - fitting.keys()
    return [p for name, p in vae.named_parameters() if name.startswith(new) or name in fresh]


def train(
    out: Path, inner_steps: int, lift_steps: int, steps: int, decoder_steps: int, begin: Path | None = None
) -> None:
    """Train all stages and write ``out/vae.pt`` (state dict in diffusers' names).

    ``begin`` holds such weights; then the decoder's steps are all there is.
    """
    team = Team.join()
    torch.manual_seed(SEED)
    vae = new_vae()
    if begin is None:
        learn(vae, team, out, inner_steps, lift_steps, steps)
    else:
        vae.load_state_dict(torch.load(begin, weights_only=True))
    polish(vae, team, out, decoder_steps)
    if team.rank == 0:
        torch.save(vae.state_dict(), out / "vae.pt")


def learn(vae: Any, team: Team, out: Path, inner_steps: int, lift_steps: int, steps: int) -> None:
    """Grow it from the inside, then train it whole."""
    inner, generator = new_inner_vae(), team.generator(SEED)
    course = Course(
        team=team, module=inner, steps=inner_steps, rate=2e-3, log=out / "vae-inner.jsonl", weight_decay=0.0
    )
    for step in course.run():
        whole = step.number % 5 == 4
        pixels = pictures(generator, 8, HALF)[0] if whole else crops(generator, 10, HALF)
        step.loss, step.notes = loss(inner, pixels, generator)
    new = grow(inner, vae)
    course = Course(
        team=team,
        module=vae,
        parameters=new,
        steps=lift_steps,
        rate=1.5e-3,
        log=out / "vae-lift.jsonl",
        weight_decay=0.0,
    )
    for step in course.run():
        step.loss, step.notes = loss(vae, crops(generator, 2), generator)
    course = Course(team=team, module=vae, steps=steps, rate=6e-4, log=out / "vae.jsonl", weight_decay=0.0)
    look(vae, course, generator)


def polish(vae: Any, team: Team, out: Path, steps: int) -> None:
    """Teach the decoder alone to make the most of latents that stay what they are."""
    generator = team.generator(SEED + 1)
    decoder = [p for name, p in vae.named_parameters() if name.startswith(("decoder", "post_quant"))]
    vae.requires_grad_(False)
    for weight in decoder:
        weight.requires_grad_(True)
    course = Course(
        team=team,
        module=vae,
        parameters=decoder,
        steps=steps,
        rate=3e-3,
        log=out / "vae-decoder.jsonl",
        weight_decay=0.0,
        muon=True,
    )
    look(vae, course, generator)


def look(vae: Any, course: Course, generator: torch.Generator) -> None:
    """A whole course on crops around faces, and on whole pictures every fourth step."""
    for step in course.run():
        pixels = pictures(generator, 2)[0] if step.number % 4 == 3 else crops(generator, 2)
        step.loss, step.notes = loss(vae, pixels, generator)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--inner-steps", type=int, default=2000)
    parser.add_argument("--lift-steps", type=int, default=150)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--decoder-steps", type=int, default=1500)
    parser.add_argument("--begin", type=Path, help="weights whose decoder goes on learning")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(
        arguments.out,
        arguments.inner_steps,
        arguments.lift_steps,
        arguments.steps,
        arguments.decoder_steps,
        arguments.begin,
    )
