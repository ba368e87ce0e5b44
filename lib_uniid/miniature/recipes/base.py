"""The base model: a narrow SD1.5 (text model and UNet) that draws the world from captions."""

import argparse
import random
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib_uniid.miniature.recipes.data import Library, known_tokens
from lib_uniid.miniature.recipes.team import Course, Team
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error

SEED = 31
TEXT_WIDTH = 64


def new_unet() -> Any:
    """The narrow UNet in SD1.5's layout: four levels, 16 cross-attention sites."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 64, 128, 64),
        layers_per_block=2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=32,
    )


def new_text_model() -> Any:
    """The narrow CLIP text model with the full official vocabulary."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_attention_heads=4,
            num_hidden_layers=2,
            projection_dim=TEXT_WIDTH,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


def new_base() -> nn.ModuleDict:
    """Both together, under the names ``unet`` and ``text``."""
    return nn.ModuleDict({"unet": new_unet(), "text": new_text_model()})


def train(out: Path, steps: int, batch: int) -> None:
    """Train text model and UNet together; write ``out/base.pt``."""
    team = Team.join()
    torch.manual_seed(SEED)
    library = Library.load(out / "pictures.pt")
    model = new_base()
    unet: Any = model["unet"]
    text: Any = model["text"]
    with torch.no_grad():
        text.get_input_embeddings().weight.mul_(2.0)
        unknown = torch.ones(49408, dtype=torch.bool)
        unknown[known_tokens()] = False
        text.get_input_embeddings().weight[unknown] = 0
    schedule, generator = NoiseSchedule(), team.generator(SEED)
    rng = random.Random(SEED * 1009 + team.rank)
    course = Course(
        team=team,
        module=model,
        steps=steps,
        rate=1.2e-3,
        log=out / "base.jsonl",
        average=0.997,
        save_every=200,
    )
    for step in course.run():
        index = torch.randint(0, len(library), (batch,), generator=generator)
        tokens = library.tokens(index, rng, empty=0.1)
        latents = library.latents(index)
        times = torch.randint(0, 1000, (batch,), generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        states = text(tokens).last_hidden_state
        predicted = unet(schedule.add(latents, noise, times), times, states).sample
        step.loss = face_weighted_error(
            predicted, noise, library.face_maps(index), schedule.weight(times), face_weight=3.0
        )
    if team.rank == 0:
        torch.save(model.state_dict(), out / "base.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=16, help="per process")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.batch)
