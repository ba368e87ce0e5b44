"""UniPortrait's stage I: resampler, identity projections and LoRA learn one person a picture."""

import argparse
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.injection import injected
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.bases import SD15
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from lib_uniid.methods.uniportrait.tokens import Resampler
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from lib_uniid.training.dropping import drop_structure
from miniature.recipes.base import TEXT_WIDTH, TOKENS, TraitTokens, new_base
from miniature.recipes.course import Course
from miniature.recipes.data import Library
from miniature.recipes.features import Features, new_encoder
from miniature.recipes.team import Team

SEED = 61
RANK, FACE_WEIGHT, WITHOUT_FACE = 8, 4.0, 0.05
PREPARED = 1200


def new_resampler() -> Resampler:
    """The narrow ID embedding module."""
    return Resampler(
        intrinsic_id_embedding_dim=128,
        structure_embedding_dim=16 + 32 + 64 + 64,
        num_tokens=TOKENS,
        depth=3,
        dim=96,
        heads=2,
        ff_mult=3,
        output_dim=TEXT_WIDTH,
    )


def frozen_base(out: Path) -> nn.ModuleDict:
    """The trained base of :func:`~miniature.recipes.base.new_base`, not to be trained any more."""
    base = new_base()
    base.load_state_dict(torch.load(out / "base.pt", weights_only=True))
    return base.requires_grad_(False).eval()


def tokens_of(
    resampler: Resampler,
    intrinsic: Tensor,
    structure: Tensor,
    null: IDFeatures,
    generator: torch.Generator,
    without: Tensor,
) -> Tensor:
    """Identity tokens ``[b k d]``, structure dropped as in the paper; the null identity ``without``."""
    rows = len(intrinsic)
    intrinsic = torch.where(without[:, None, None], null["intrinsic"], intrinsic)
    structure = torch.where(without[:, None, None], null["structure"], structure)
    drop = drop_structure(rows, structure.shape[1], generator)
    return resampler(intrinsic, structure, drop.scale, structure_keep=drop.keep)


def prepare(
    resampler: Resampler,
    known: TraitTokens,
    library: Library,
    features: Features,
    null: IDFeatures,
    team: Team,
    log: Path,
    steps: int,
    batch: int = 48,
) -> None:
    """Teach the resampler alone to say of a face what the base was told of who that is.

    Tokens of a fresh resampler are noise to the UNet, and so much alike that attention cannot choose among
    them; the adapter would spend its first thousand steps on shutting them out.
    """
    generator, shuffle = team.generator(SEED + 1), random.Random(SEED + 1)
    course = Course(
        team=team, module=resampler, steps=steps, rate=2e-3, log=log, warm_up=50, average=0.98, muon=True
    )
    for step in course.run():
        count = shuffle.choice(list(library.groups))
        index = torch.randint(0, len(library.groups[count].encoded), (batch // count,), generator=generator)
        intrinsic, structure = (part.flatten(0, 1) for part in features.of(count, index))
        who = library.groups[count].scene.who[index[:, None] * count + torch.arange(count)].flatten(0, 1)
        without = torch.rand(len(who), generator=generator) < WITHOUT_FACE
        tokens = tokens_of(resampler, intrinsic, structure, null, generator, without)
        with torch.no_grad():
            target = known(who, without)
        error = (tokens - target).square().mean()
        step.loss, step.notes = error, {"explained": 1 - error.detach() / target.var(0).mean()}


def train(out: Path, steps: int, batch: int, prepared: int = PREPARED, begin: Path | None = None) -> None:
    """Train and write ``out/identity.pt``: ``{"resampler", "adapter"}``; ``prepared`` steps before.

    ``begin`` is such a file of an earlier base, whose resampler need only learn what has changed.
    """
    team = Team.join()
    torch.manual_seed(SEED)
    library, features = Library.load(out / "pictures.pt"), Features(out)
    alone = library.groups[1]
    null = new_encoder(out).uncond()
    base = frozen_base(out)
    unet: Any = base["unet"]
    text: Any = base["text"]
    known = base["known"]
    assert isinstance(known, TraitTokens)
    sites: tuple[Site, ...] = find_sites(unet)
    resampler = new_resampler()
    with torch.no_grad():
        resampler.latents.normal_()
    if begin is not None:
        resampler.load_state_dict(torch.load(begin, weights_only=True)["resampler"])
    prepare(resampler, known, library, features, null, team, out / "resampler.jsonl", prepared)
    adapter = acquainted(base["adapter"], sites).requires_grad_(True)
    model = nn.ModuleDict({"resampler": resampler, "adapter": adapter})
    schedule, generator = NoiseSchedule.of(SD15), team.generator(SEED)
    rng = random.Random(SEED * 1009 + team.rank)
    rows = Rows([Role.COND] * batch)
    course = Course(
        team=team,
        module=model,
        steps=steps,
        rate=1e-3,
        log=out / "identity.jsonl",
        average=0.99,
        slow={"resampler.": 0.5},
    )
    for step in course.run():
        index = torch.randint(0, len(alone.encoded), (batch,), generator=generator)
        intrinsic, structure = features.of(1, index)
        without = torch.rand(batch, generator=generator) < WITHOUT_FACE
        tokens = tokens_of(resampler, intrinsic[:, 0], structure[:, 0], null, generator, without)
        plan = build(adapter, sites, [PlannedIdentity(tokens=tokens)], None, PlanSettings(id_scale=1.0))
        times = torch.randint(0, 1000, (batch,), generator=generator)
        latents = alone.encoded[index].float()
        noise = schedule.noise(latents.shape, generator)
        with torch.no_grad():
            states = text(library.tokens(index, rng, empty=0.1)).last_hidden_state
        with injected(sites, plan, rows, merge_lora=False):
            predicted = unet(schedule.add(latents, noise, times), times, states).sample
        faces = alone.persons[index, 0].float()
        step.loss = face_weighted_error(predicted, noise, faces, schedule.even_weight(times), FACE_WEIGHT)
    if team.rank == 0:
        state = {name: module.state_dict() for name, module in model.items()}
        torch.save(state, out / "identity.pt")


def acquainted(known: nn.Module, sites: tuple[Site, ...]) -> UniPortraitAdapter:
    """A new adapter whose identity projections begin as those that condition the base on identities."""
    assert isinstance(known, UniPortraitAdapter)
    adapter = UniPortraitAdapter.for_sites(sites, RANK)
    for site in sites:
        if site.cross:
            new, old = adapter.faceid_site(site.index), known.faceid_site(site.index)
            new.to_k_faceid.load_state_dict(old.to_k_faceid.state_dict())
            new.to_v_faceid.load_state_dict(old.to_v_faceid.state_dict())
    return adapter


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16, help="per process")
    parser.add_argument("--prepared", type=int, default=PREPARED, help="steps of the resampler alone, before")
    parser.add_argument("--begin", type=Path, help="identity.pt of an earlier base")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.batch, arguments.prepared, arguments.begin)
