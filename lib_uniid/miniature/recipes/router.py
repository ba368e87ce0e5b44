"""UniPortrait's stage II: the router and the LoRA for several people; the ID embedding stays as it is."""

import argparse
import random
from pathlib import Path

import torch

from lib_uniid.attention.adapter import UniPortraitAdapter
from lib_uniid.attention.injection import RoutingRecord, injected
from lib_uniid.attention.plan import Person, Plan, PlanSettings
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.encoders.identity import IDFeatures
from lib_uniid.miniature.recipes.data import Library
from lib_uniid.miniature.recipes.features import Features, new_encoder
from lib_uniid.miniature.recipes.identity import FACE_WEIGHT, RANK, frozen_base, new_resampler, tokens_of
from lib_uniid.miniature.recipes.team import Course, Team
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from lib_uniid.training.routing import gumbel_choice, routing_loss

SEED = 71
LAMBDA = 0.1
TOKENS = 16


def train(out: Path, steps: int, batch: int, weight: float, name: str) -> None:
    """Train and write ``out/NAME.pt``: the router's state dict; ``weight`` is the routing loss's lambda."""
    team = Team.join()
    torch.manual_seed(SEED)
    library, features = Library.load(out / "pictures.pt"), Features(out)
    nobody: IDFeatures = new_encoder(out).uncond()
    unet, text = frozen_base(out)
    sites = find_sites(unet)
    trained = torch.load(out / "identity.pt", weights_only=True)
    resampler, adapter = new_resampler(), UniPortraitAdapter.for_sites(sites, RANK)
    resampler.load_state_dict(trained["resampler"])
    adapter.load_state_dict(trained["adapter"])
    for part in (resampler, adapter):
        part.requires_grad_(False)
    router = adapter.add_router(TOKENS).requires_grad_(True)
    schedule, generator = NoiseSchedule(), team.generator(SEED)
    rng, shuffle = random.Random(SEED * 1009 + team.rank), random.Random(SEED)
    rows = Rows([Role.COND] * batch)
    course = Course(
        team=team,
        module=router,
        steps=steps,
        rate=1.5e-3,
        log=out / f"{name}.jsonl",
        average=0.99,
        slow={"_lora.": 0.2},
    )
    first = {1: 0, 2: len(library.groups[1].encoded)}
    first[3] = first[2] + len(library.groups[2].encoded)
    for step in course.run():
        count = 3 if shuffle.random() < 0.35 else 2
        group = library.groups[count]
        index = torch.randint(0, len(group.encoded), (batch,), generator=generator)
        order = torch.stack([torch.randperm(count, generator=generator) for _ in range(batch)])
        intrinsic, structure = (
            torch.gather(f, 1, order[:, :, None, None].expand_as(f)) for f in features.of(count, index)
        )
        with torch.no_grad():
            tokens = tokens_of(resampler, intrinsic.flatten(0, 1), structure.flatten(0, 1), nobody, generator)
            tokens = tokens.unflatten(0, (batch, count))
            states = text(library.tokens(index + first[count], rng, empty=0.1)).last_hidden_state
        persons = torch.gather(
            group.persons[index].float(), 1, order[:, :, None, None].expand(-1, -1, 16, 16)
        )
        settings = PlanSettings(id_scale=1.0, choose=gumbel_choice(generator))
        plan = Plan.build(adapter, sites, [Person(tokens=tokens[:, i]) for i in range(count)], None, settings)
        times = torch.randint(0, 1000, (batch,), generator=generator)
        latents = group.encoded[index].float()
        noise = torch.randn(latents.shape, generator=generator)
        record = RoutingRecord()
        with injected(sites, plan, rows, merge_lora=False, record=record):
            predicted = unet(schedule.add(latents, noise, times), times, states).sample
        drawn = face_weighted_error(predicted, noise, persons.amax(1), schedule.weight(times), FACE_WEIGHT)
        routed, right = routing_loss(record.logits.values(), persons)
        step.loss = drawn + weight * routed
        step.notes = {"routing": routed.detach(), "right": right}
    if team.rank == 0:
        torch.save(router.state_dict(), out / f"{name}.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16, help="per process")
    parser.add_argument("--weight", type=float, default=LAMBDA, help="lambda of the routing loss")
    parser.add_argument("--name", default="router")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.batch, arguments.weight, arguments.name)
