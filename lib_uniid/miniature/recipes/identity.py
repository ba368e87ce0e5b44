"""UniPortrait's stage I: resampler, identity projections and LoRA learn one person a picture."""

import argparse
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention.adapter import UniPortraitAdapter
from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Person, Plan, PlanSettings
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.encoders.identity import IDFeatures
from lib_uniid.miniature.recipes.base import TEXT_WIDTH, new_text_model, new_unet
from lib_uniid.miniature.recipes.data import Library
from lib_uniid.miniature.recipes.features import Features, new_encoder
from lib_uniid.miniature.recipes.team import Course, Team
from lib_uniid.tokens.uniportrait import Resampler
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from lib_uniid.training.dropping import drop_structure

SEED = 61
RANK, FACE_WEIGHT, WITHOUT_FACE = 8, 4.0, 0.05


def new_resampler() -> Resampler:
    """The narrow ID embedding module."""
    return Resampler(
        intrinsic_id_embedding_dim=128,
        structure_embedding_dim=16 + 32 + 64 + 64,
        num_tokens=16,
        depth=3,
        dim=96,
        heads=2,
        ff_mult=3,
        output_dim=TEXT_WIDTH,
    )


def frozen_base(out: Path) -> tuple[Any, Any]:
    """The trained UNet and text model, not to be trained any more."""
    state = torch.load(out / "base.pt", weights_only=True)
    unet, text = new_unet(), new_text_model()
    unet.load_state_dict(state["unet"])
    text.load_state_dict(state["text"])
    return unet.requires_grad_(False).eval(), text.requires_grad_(False).eval()


def tokens_of(
    resampler: Resampler, intrinsic: Tensor, structure: Tensor, nobody: IDFeatures, generator: torch.Generator
) -> Tensor:
    """Identity tokens ``[b k d]`` of a batch, structure dropped as in the paper, and some rows of nobody."""
    rows = len(intrinsic)
    without = torch.rand(rows, generator=generator)[:, None, None] < WITHOUT_FACE
    assert nobody.structure is not None
    intrinsic = torch.where(without, nobody.intrinsic, intrinsic)
    structure = torch.where(without, nobody.structure, structure)
    drop = drop_structure(rows, structure.shape[1], generator)
    return resampler(intrinsic, structure, drop.scale, structure_keep=drop.keep)


def train(out: Path, steps: int, batch: int) -> None:
    """Train and write ``out/identity.pt``: ``{"resampler", "adapter"}``."""
    team = Team.join()
    torch.manual_seed(SEED)
    library, features = Library.load(out / "pictures.pt"), Features(out)
    alone = library.groups[1]
    nobody = new_encoder(out).uncond()
    unet, text = frozen_base(out)
    sites: tuple[Site, ...] = find_sites(unet)
    resampler, adapter = new_resampler(), UniPortraitAdapter.for_sites(sites, RANK).requires_grad_(True)
    model = nn.ModuleDict({"resampler": resampler, "adapter": adapter})
    schedule, generator = NoiseSchedule(), team.generator(SEED)
    rng = random.Random(SEED * 1009 + team.rank)
    rows = Rows([Role.COND] * batch)
    course = Course(
        team=team, module=model, steps=steps, rate=1.5e-3, log=out / "identity.jsonl", average=0.995
    )
    for step in course.run():
        index = torch.randint(0, len(alone.encoded), (batch,), generator=generator)
        intrinsic, structure = features.of(1, index)
        tokens = tokens_of(resampler, intrinsic[:, 0], structure[:, 0], nobody, generator)
        plan = Plan.build(adapter, sites, [Person(tokens=tokens)], None, PlanSettings(id_scale=1.0))
        times = torch.randint(0, 1000, (batch,), generator=generator)
        latents = alone.encoded[index].float()
        noise = torch.randn(latents.shape, generator=generator)
        with torch.no_grad():
            states = text(library.tokens(index, rng, empty=0.1)).last_hidden_state
        with injected(sites, plan, rows, merge_lora=False):
            predicted = unet(schedule.add(latents, noise, times), times, states).sample
        faces = alone.persons[index, 0].float()
        step.loss = face_weighted_error(predicted, noise, faces, schedule.weight(times), FACE_WEIGHT)
    if team.rank == 0:
        state = {name: module.state_dict() for name, module in model.items()}
        torch.save(state, out / "identity.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16, help="per process")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.batch)
