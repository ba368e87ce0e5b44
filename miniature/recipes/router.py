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

from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.injection import injected
from lib_uniid.attention.record import RoutingRecord
from lib_uniid.attention.routing import Choose
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.bases import SD15
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from lib_uniid.methods.uniportrait.tokens import Resampler
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from lib_uniid.training.router_loss import gumbel_choice, imbalance, routing_loss
from miniature.captions import caption
from miniature.recipes.base import TOKENS
from miniature.recipes.course import Course
from miniature.recipes.data import Library, encode, persons_of, token_ids
from miniature.recipes.features import Features, crops_of, new_encoder
from miniature.recipes.identity import (
    FACE_WEIGHT,
    RANK,
    WITHOUT_FACE,
    frozen_base,
    new_resampler,
    tokens_of,
)
from miniature.recipes.team import Team
from miniature.recipes.vae import trained_vae
from miniature.world import draw, sample_scenes

SEED, HELD_OUT = 71, 9071
LAMBDA, BALANCE = 1.0, 1.0
PREPARED, PREPARING_RATE = 4000, 1e-2
ORDERED, UNSEEN = 0.95, 500
"""Share of the lessons in which people stand in an order of their own, from left to right.

It holds from time UNSEEN on; before that it falls to none at 0.

In the noisiest pictures nothing tells who stands where, and a router held to a coin toss learns to hold to
nothing there: places of one face then go to different people, and the picture never recovers. But the more it
goes by the order, the less it asks a picture that does tell.
"""
NOISY, FIRST = 0.4, 800
"""Share of the lessons that are as noisy as the first steps, in which it is decided who stands where."""
TWINS = 0.25
"""Share of the router's lessons of two people, when it learns alone, that show one face in both places."""


@dataclass(slots=True)
class Chain:
    """What stage II stands on, all of it frozen, and the router that is to be trained."""

    unet: Any
    text: Any
    sites: tuple[Site, ...]
    resampler: Resampler
    adapter: UniPortraitAdapter
    router: nn.ModuleDict
    null: IDFeatures

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
        people = [PlannedIdentity(tokens=tokens[:, person]) for person in range(tokens.shape[1])]
        plan = build(self.adapter, self.sites, people, None, PlanSettings(id_scale=1.0, choose=choose))
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


@torch.no_grad()
def mean_tokens(chain: Chain, library: Library, features: Features, chunk: int = 250) -> dict[int, Tensor]:
    """The mean of each person's tokens, ``[pictures people d]`` by number of people."""
    means: dict[int, Tensor] = {}
    for count in (2, 3):
        pictures = torch.arange(len(library.groups[count].encoded))
        parts = (features.of(count, index) for index in pictures.split(chunk))
        means[count] = torch.cat(
            [chain.resampler(i.flatten(0, 1), s.flatten(0, 1)).mean(1) for i, s in parts]
        ).unflatten(0, (-1, count))
    return means


def in_order(means: dict[int, Tensor]) -> dict[int, Tensor]:
    """The pictures in which people stand in order from left to right, by number of people.

    The order is that of the first principal component of ``means`` (see :func:`mean_tokens`): what a router
    can tell best. All pictures where none are in order, as may be among a handful.
    """
    tokens = torch.cat([mean.flatten(0, 1) for mean in means.values()])
    direction = torch.linalg.eigh(tokens.T.cov()).eigenvectors[:, -1]
    found: dict[int, Tensor] = {}
    for count, mean in means.items():
        fitting = ((mean @ direction).diff(dim=1) > 0).all(1)
        found[count] = (fitting if fitting.any() else ~fitting).nonzero()[:, 0]
    return found


def twins(latents: Tensor, persons: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures ``[n 4 16 16]`` of two and their masks ``[n 2 16 16]`` with one half in the place of both.

    That of the left one where ``side`` is 0. So looks a picture whose two faces were given to one person.
    """

    def half(whole: Tensor) -> Tensor:
        left, right = whole.chunk(2, dim=-1)
        return torch.where(side[:, None, None, None] == 0, left, right)

    picture, face = half(latents), half(persons.amax(1, keepdim=True))
    empty = torch.zeros_like(face)
    masks = torch.cat([torch.cat([face, empty], -1), torch.cat([empty, face], -1)], 1)
    return torch.cat([picture, picture], -1), masks


def lessons(
    chain: Chain, out: Path, team: Team, seed: int, batch: int, twin_share: float = 0.0
) -> Iterator[Lesson]:
    """Without end: the course ends first. Each process has its own, all with as many people at a time."""
    library, features = Library.load(out / "pictures.pt"), Features(out)
    schedule, generator = NoiseSchedule.of(SD15), team.generator(seed)
    rng, shuffle = random.Random(seed * 1009 + team.rank), random.Random(seed)
    ordered = in_order(mean_tokens(chain, library, features))
    while True:
        count = 3 if shuffle.random() < 0.35 else 2
        group = library.groups[count]
        times = torch.randint(0, 1000, (batch,), generator=generator)
        first = torch.randint(FIRST, 1000, (batch,), generator=generator)
        times = torch.where(torch.rand(batch, generator=generator) < NOISY, first, times)
        alike = torch.rand(batch, generator=generator) < (twin_share if count == 2 else 0)
        index = torch.randint(0, len(group.encoded), (batch,), generator=generator)
        instead = ordered[count][torch.randint(0, len(ordered[count]), (batch,), generator=generator)]
        told = torch.rand(batch, generator=generator) < ORDERED * (times / UNSEEN).clamp(max=1)
        index = torch.where(told | alike, instead, index)
        order = torch.stack([torch.randperm(count, generator=generator) for _ in range(batch)])[
            :, :, None, None
        ]
        intrinsic, structure = (f.gather(1, order.expand_as(f)) for f in features.of(count, index))
        with torch.no_grad():
            tokens = tokens_of(
                chain.resampler,
                intrinsic.flatten(0, 1),
                structure.flatten(0, 1),
                chain.null,
                generator,
                torch.rand(batch * count, generator=generator) < WITHOUT_FACE,
            ).unflatten(0, (batch, count))
            states = chain.text(
                library.tokens(index + library.first(count), rng, empty=0.1)
            ).last_hidden_state
        persons, latents = group.persons[index].float(), group.encoded[index].float()
        if alike.any():
            side = torch.randint(0, 2, (int(alike.sum()),), generator=generator)
            latents[alike], persons[alike] = twins(latents[alike], persons[alike], side)
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
    """Teach the router alone by the routing loss and its balance: the UNet is only read, a third of the work.

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
    for step, lesson in zip(course.run(), lessons(chain, out, team, SEED + 1, batch, TWINS), strict=False):
        _, logits = chain.predict(lesson.noisy, lesson.times, lesson.tokens, lesson.states)
        step.loss, right = routing_loss(logits, lesson.persons)
        step.notes = {"routing": step.loss.detach(), "right": right}
        step.loss = step.loss + BALANCE * imbalance(logits, lesson.persons)


def train(
    out: Path, steps: int, batch: int, weight: float, name: str, prepared: int, begin: Path | None = None
) -> None:
    """Train and write ``out/NAME.pt``: the router's state dict.

    ``weight`` is the routing loss's lambda, ``prepared`` the steps of the router alone, before; without that
    loss there is nothing to prepare by, and there are none. ``begin`` is such a file, of an earlier base too,
    of which the router, but not the LoRA, is where this one begins.
    """
    team = Team.join()
    torch.manual_seed(SEED)
    chain = Chain.load(out)
    if begin is not None:
        earlier = torch.load(begin, weights_only=True)
        chain.router.load_state_dict(
            {k: earlier[k] if "router." in k else v for k, v in chain.router.state_dict().items()}
        )
    if prepared and weight:
        prepare(chain, out, team, out / f"{name}-alone.jsonl", prepared, batch)
    router = chain.router.requires_grad_(True)
    schedule = NoiseSchedule.of(SD15)
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
        step.loss = drawn + weight * (routed + BALANCE * imbalance(logits, lesson.persons))
        step.notes = {"routing": routed.detach(), "right": right}
    if team.rank == 0:
        torch.save(router.state_dict(), out / f"{name}.pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Shares of the places in faces, over all sites, that go to the right person; by chance a half,
    ``steady`` a little more.

    ``steady``: in the order of the people that suits the router best, the same at all sites of a picture. A
    picture made from noise needs no more than that two faces go to two people.
    """

    right: float
    steady: float


@torch.no_grad()
def accuracy(out: Path, name: str, pictures: int = 96, chunk: int = 16) -> Accuracy:
    """How well the trained router does.

    Scenes of two new people, in any order, noised to times evenly below 700 (later, people cannot be
    distinguished), routed as in sampling: without Gumbel noise.
    """
    chain = Chain.load(out)
    chain.router.load_state_dict(torch.load(out / f"{name}.pt", weights_only=True))
    encoder, vae = new_encoder(out), trained_vae(out)
    scale = Library.load(out / "pictures.pt").scale
    schedule, generator, rng = (
        NoiseSchedule.of(SD15),
        torch.Generator().manual_seed(HELD_OUT),
        random.Random(HELD_OUT),
    )
    times = torch.linspace(0, 699, pictures).long()[torch.randperm(pictures, generator=generator)]
    shares: list[Tensor] = []
    for some in times.split(chunk):
        scene = sample_scenes(len(some), 2, generator)
        latents = encode(vae, draw(scene, generator)) * scale
        intrinsic, structure = encoder.per_reference(crops_of(scene.who, generator))
        tokens = chain.resampler(intrinsic, structure).unflatten(0, (-1, 2))
        captions = torch.tensor([token_ids(caption(scene, i, rng)) for i in range(len(some))])
        noisy = schedule.add(latents, torch.randn(latents.shape, generator=generator), some)
        states = chain.text(captions).last_hidden_state
        _, logits = chain.predict(noisy, some, tokens, states)
        persons = persons_of(scene)
        shares += [
            torch.stack(
                [routing_loss([site[[i]] for site in logits], p[[i]])[1] for p in (persons, persons.flip(1))]
            )
            for i in range(len(some))
        ]
    both = torch.stack(shares)
    return Accuracy(right=both[:, 0].mean().item(), steady=both.amax(1).mean().item())


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
        sys.stderr.write(f"routing {accuracy(arguments.out, arguments.name)}\n")
