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
from lib_uniid.miniature.recipes.base import TEXT_WIDTH, new_base
from lib_uniid.miniature.recipes.data import Library
from lib_uniid.miniature.recipes.features import Features, new_encoder
from lib_uniid.miniature.recipes.team import Course, Team
from lib_uniid.tokens.uniportrait import Resampler
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from lib_uniid.training.dropping import drop_structure

SEED = 61
RANK, FACE_WEIGHT, WITHOUT_FACE = 8, 4.0, 0.05
PREPARED = 800


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
    base = new_base()
    base.load_state_dict(torch.load(out / "base.pt", weights_only=True))
    base.requires_grad_(False).eval()
    return base["unet"], base["text"]


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


def prepare(
    resampler: Resampler, library: Library, features: Features, team: Team, log: Path, steps: int
) -> None:
    """Let the resampler learn alone to keep what the features say of a person, read off its tokens linearly.

    Tokens of a fresh resampler are noise to the UNet, and so much alike that attention cannot choose among
    them; the adapter would spend its first thousand steps on shutting them out.
    """
    alone, generator = library.groups[1], team.generator(SEED + 1)
    readout = nn.Linear(resampler.latents.shape[1] * TEXT_WIDTH, alone.scene.who.shape[1])
    with torch.no_grad():
        resampler.latents.normal_()
    model = nn.ModuleDict({"resampler": resampler, "readout": readout})
    course = Course(team=team, module=model, steps=steps, rate=2e-3, log=log, warm_up=50, average=0.98)
    for step in course.run():
        index = torch.randint(0, len(alone.encoded), (32,), generator=generator)
        intrinsic, structure = features.of(1, index)
        drop = drop_structure(len(index), structure.shape[2], generator)
        tokens = resampler(intrinsic[:, 0], structure[:, 0], drop.scale, structure_keep=drop.keep)
        step.loss = (readout(tokens.flatten(1)) - alone.scene.who[index]).square().mean()
    standardise(resampler, *features.of(1, torch.arange(min(256, len(alone.encoded)))))


@torch.no_grad()
def standardise(resampler: Resampler, intrinsic: Tensor, structure: Tensor) -> None:
    """Fold into the last norm that tokens have mean 0, and deviation 1 from person to person.

    Of a fresh token by far the most is the same for everybody, and drowns the gradient of the rest.
    """
    tokens = resampler(intrinsic[:, 0], structure[:, 0])
    scale, norm = 1 / tokens.std(0).mean(), resampler.norm_out
    norm.weight.mul_(scale)
    norm.bias.sub_(tokens.mean((0, 1))).mul_(scale)


def train(out: Path, steps: int, batch: int, prepared: int = PREPARED) -> None:
    """Train and write ``out/identity.pt``: ``{"resampler", "adapter"}``; ``prepared`` steps before."""
    team = Team.join()
    torch.manual_seed(SEED)
    library, features = Library.load(out / "pictures.pt"), Features(out)
    alone = library.groups[1]
    nobody = new_encoder(out).uncond()
    unet, text = frozen_base(out)
    sites: tuple[Site, ...] = find_sites(unet)
    resampler, adapter = new_resampler(), UniPortraitAdapter.for_sites(sites, RANK).requires_grad_(True)
    prepare(resampler, library, features, team, out / "resampler.jsonl", prepared)
    for site in sites:
        if site.cross:  # begin with no say at all, not with the text's values for tokens that are no text
            nn.init.zeros_(adapter.faceid_site(site.index).to_v_faceid.weight)
    model = nn.ModuleDict({"resampler": resampler, "adapter": adapter})
    schedule, generator = NoiseSchedule(), team.generator(SEED)
    rng = random.Random(SEED * 1009 + team.rank)
    rows = Rows([Role.COND] * batch)
    course = Course(
        team=team,
        module=model,
        steps=steps,
        rate=3e-3,
        log=out / "identity.jsonl",
        average=0.99,
        slow={"resampler.": 0.1},
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
        step.loss = face_weighted_error(predicted, noise, faces, schedule.image_weight(times), FACE_WEIGHT)
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
