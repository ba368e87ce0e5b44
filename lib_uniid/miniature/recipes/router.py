"""UniPortrait's stage II: the router and the LoRA for several people; the ID embedding stays as it is."""

import argparse
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention.adapter import UniPortraitAdapter
from lib_uniid.attention.injection import RoutingRecord, injected
from lib_uniid.attention.plan import Person, Plan, PlanSettings
from lib_uniid.attention.routing import Choose
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.encoders.identity import IDFeatures
from lib_uniid.miniature.captions import caption
from lib_uniid.miniature.people import trait
from lib_uniid.miniature.recipes.base import TOKENS
from lib_uniid.miniature.recipes.course import Course
from lib_uniid.miniature.recipes.data import Group, Library, encode, persons_of, token_ids
from lib_uniid.miniature.recipes.features import Features, crops_of, new_encoder
from lib_uniid.miniature.recipes.identity import (
    FACE_WEIGHT,
    RANK,
    WITHOUT_FACE,
    frozen_base,
    new_resampler,
    tokens_of,
)
from lib_uniid.miniature.recipes.team import Team
from lib_uniid.miniature.recipes.vae import new_vae
from lib_uniid.miniature.world import draw, sample_scenes
from lib_uniid.tokens.uniportrait import Resampler
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from lib_uniid.training.routing import gumbel_choice, routing_loss

SEED, HELD_OUT = 71, 9071
LAMBDA = 1.0
PREPARED, PREPARING_RATE = 1500, 1e-2
ORDERED = 0.9
"""Share of the lessons in which people stand in order of their eyes' distance, narrowest first.

In the noisiest pictures nothing tells who stands where, and a router held to a coin toss learns to hold to
nothing there: places of one face then go to different people, and the picture never recovers.
"""


@dataclass(slots=True)
class Chain:
    """What stage II stands on, all of it frozen, and the router that is to be trained."""

    unet: Any
    text: Any
    sites: tuple[Site, ...]
    resampler: Resampler
    adapter: UniPortraitAdapter
    router: nn.ModuleDict
    nobody: IDFeatures

    @staticmethod
    def load(out: Path) -> "Chain":
        """The results of the earlier recipes; the router is new and its LoRA begins as stage I's."""
        base = frozen_base(out)
        unet, text = base["unet"], base["text"]
        sites = find_sites(unet)
        trained = torch.load(out / "identity.pt", weights_only=True)
        resampler, adapter = new_resampler(), UniPortraitAdapter.for_sites(sites, RANK)
        resampler.load_state_dict(trained["resampler"])
        adapter.load_state_dict(trained["adapter"])
        for part in (resampler, adapter):
            part.requires_grad_(False)
        router = adapter.add_router(TOKENS)
        return Chain(unet, text, sites, resampler, adapter, router, new_encoder(out).uncond())

    def predict(
        self, noisy: Tensor, times: Tensor, tokens: Tensor, states: Tensor, choose: Choose | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The predicted noise and what the router said, for ID tokens ``b people k d``."""
        people = [Person(tokens=tokens[:, person]) for person in range(tokens.shape[1])]
        plan = Plan.build(self.adapter, self.sites, people, None, PlanSettings(id_scale=1.0, choose=choose))
        record, rows = RoutingRecord(), Rows([Role.COND] * len(noisy))
        with injected(self.sites, plan, rows, merge_lora=False, record=record):
            predicted = self.unet(noisy, times, states).sample
        return predicted, list(record.logits.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Some pictures of equally many people, noised, with references, captions and the truth."""

    noisy: Tensor
    times: Tensor
    noise: Tensor
    tokens: Tensor  # [b people k d]
    states: Tensor
    persons: Tensor  # [b people 16 16]


def in_order(group: Group) -> Tensor:
    """The pictures in which people's eyes stand further apart from one to the next, left to right.

    All of them where there are none, as may be among a handful.
    """
    eyes = trait(group.scene.who, "eye_spacing").unflatten(0, (-1, group.scene.people))
    fitting = (eyes.diff(dim=1) > 0).all(1)
    return (fitting if fitting.any() else ~fitting).nonzero()[:, 0]


def lessons(chain: Chain, out: Path, team: Team, seed: int, batch: int) -> Iterator[Lesson]:
    """Without end; each process has its own, all with the same number of people at a time."""
    library, features = Library.load(out / "pictures.pt"), Features(out)
    schedule, generator = NoiseSchedule(), team.generator(seed)
    rng, shuffle = random.Random(seed * 1009 + team.rank), random.Random(seed)
    ordered = {count: in_order(group) for count, group in library.groups.items()}
    while True:
        count = 3 if shuffle.random() < 0.35 else 2
        group = library.groups[count]
        index = torch.randint(0, len(group.encoded), (batch,), generator=generator)
        instead = ordered[count][torch.randint(0, len(ordered[count]), (batch,), generator=generator)]
        index = torch.where(torch.rand(batch, generator=generator) < ORDERED, instead, index)
        order = torch.stack([torch.randperm(count, generator=generator) for _ in range(batch)])[
            :, :, None, None
        ]
        intrinsic, structure = (f.gather(1, order.expand_as(f)) for f in features.of(count, index))
        with torch.no_grad():
            tokens = tokens_of(
                chain.resampler,
                intrinsic.flatten(0, 1),
                structure.flatten(0, 1),
                chain.nobody,
                generator,
                torch.rand(batch * count, generator=generator) < WITHOUT_FACE,
            ).unflatten(0, (batch, count))
            states = chain.text(
                library.tokens(index + library.first(count), rng, empty=0.1)
            ).last_hidden_state
        persons = group.persons[index].float()
        times = torch.randint(0, 1000, (batch,), generator=generator)
        latents = group.encoded[index].float()
        noise = schedule.noise(latents.shape, generator)
        yield Lesson(
            noisy=schedule.add(latents, noise, times),
            times=times,
            noise=noise,
            tokens=tokens,
            states=states,
            persons=persons.gather(1, order.expand_as(persons)),
        )


def prepare(chain: Chain, out: Path, team: Team, log: Path, steps: int, batch: int) -> None:
    """Teach the router alone by the routing loss: the UNet is only read, a third of the work of a step.

    It reads what it has brought about: each place is given to one person as in sampling.
    """
    alone = [weight for name, weight in chain.router.named_parameters() if "router." in name]
    chain.router.requires_grad_(False)
    for weight in alone:
        weight.requires_grad_(True)
    course = Course(
        team=team,
        module=chain.router,
        parameters=alone,
        steps=steps,
        rate=PREPARING_RATE,
        log=log,
        average=0.99,
        muon=True,
    )
    for step, lesson in zip(course.run(), lessons(chain, out, team, SEED + 1, batch), strict=False):
        _, logits = chain.predict(lesson.noisy, lesson.times, lesson.tokens, lesson.states)
        step.loss, right = routing_loss(logits, lesson.persons)
        step.notes = {"right": right}


def train(
    out: Path, steps: int, batch: int, weight: float, name: str, prepared: int, begin: Path | None = None
) -> None:
    """Train and write ``out/NAME.pt``: the router's state dict.

    ``weight`` is the routing loss's lambda, ``prepared`` the steps of the router alone, before. ``begin`` is
    such a file of an earlier base, of which the router, but not the LoRA, is where this one begins.
    """
    team = Team.join()
    torch.manual_seed(SEED)
    chain = Chain.load(out)
    if begin is not None:
        earlier = torch.load(begin, weights_only=True)
        chain.router.load_state_dict(
            {k: earlier[k] if "router." in k else v for k, v in chain.router.state_dict().items()}
        )
    if prepared:
        prepare(chain, out, team, out / f"{name}-alone.jsonl", prepared, batch)
    router = chain.router.requires_grad_(True)
    schedule = NoiseSchedule()
    course = Course(
        team=team,
        module=router,
        steps=steps,
        rate=5e-3,
        log=out / f"{name}.jsonl",
        average=0.99,
        slow={"_lora.": 0.05},
        muon=True,
    )
    choose = gumbel_choice(team.generator(SEED + 2))
    for step, lesson in zip(course.run(), lessons(chain, out, team, SEED, batch), strict=False):
        predicted, logits = chain.predict(lesson.noisy, lesson.times, lesson.tokens, lesson.states, choose)
        drawn = face_weighted_error(
            predicted,
            lesson.noise,
            lesson.persons.amax(1),
            schedule.even_weight(lesson.times),
            FACE_WEIGHT,
        )
        routed, right = routing_loss(logits, lesson.persons)
        step.loss = drawn + weight * routed
        step.notes = {"routing": routed.detach(), "right": right}
    if team.rank == 0:
        torch.save(router.state_dict(), out / f"{name}.pt")


@torch.no_grad()
def accuracy(out: Path, name: str, pictures: int = 96, chunk: int = 16) -> float:
    """Share of places in faces that the trained router gives to the right person, over all sites.

    Scenes of two people never seen, noised to times evenly below 700 (later, nobody can be told from
    anybody), routed as in sampling: without Gumbel noise.
    """
    chain = Chain.load(out)
    chain.router.load_state_dict(torch.load(out / f"{name}.pt", weights_only=True))
    encoder, vae = new_encoder(out), new_vae().eval()
    vae.load_state_dict(torch.load(out / "vae.pt", weights_only=True))
    scale = Library.load(out / "pictures.pt").scale
    schedule, generator, rng = (
        NoiseSchedule(),
        torch.Generator().manual_seed(HELD_OUT),
        random.Random(HELD_OUT),
    )
    times = torch.linspace(0, 699, pictures).long()[torch.randperm(pictures, generator=generator)]
    shares: list[float] = []
    for some in times.split(chunk):
        scene = sample_scenes(len(some), 2, generator)
        latents = encode(vae, draw(scene, generator)) * scale
        intrinsic, structure = encoder.per_reference(crops_of(scene.who, generator))
        tokens = chain.resampler(intrinsic, structure).unflatten(0, (-1, 2))
        captions = torch.tensor([token_ids(caption(scene, i, rng)) for i in range(len(some))])
        noisy = schedule.add(latents, torch.randn(latents.shape, generator=generator), some)
        states = chain.text(captions).last_hidden_state
        _, logits = chain.predict(noisy, some, tokens, states)
        shares.append(routing_loss(logits, persons_of(scene))[1].item())
    return sum(shares) / len(shares)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16, help="per process")
    parser.add_argument("--weight", type=float, default=LAMBDA, help="lambda of the routing loss")
    parser.add_argument("--prepared", type=int, default=PREPARED, help="steps of the router alone, before")
    parser.add_argument("--begin", type=Path, help="router.pt of an earlier base")
    parser.add_argument("--name", default="router")
    arguments = parser.parse_args()
    train(
        arguments.out,
        arguments.steps,
        arguments.batch,
        arguments.weight,
        arguments.name,
        arguments.prepared,
        arguments.begin,
    )
    if Team.rank_of_this_process() == 0:
        sys.stderr.write(f"routing accuracy {accuracy(arguments.out, arguments.name):.4f}\n")
