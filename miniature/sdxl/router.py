"""Stage II on SDXL: a router at the first cross-attention layer of each transformer, for all of its blocks.

    python -m miniature.sdxl.router --begin runs/sdxl --out runs/router    # one processor core, 20 minutes

The base and the adapter branch stay as they are. The router learns by the routing loss from hidden states
that it has brought about itself: each place is given to one person as in sampling, by its scores and columns
in the order of the request. The UNet is only read; what it gave is kept for a while and used several times.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lib_uniid.attention.deciding import leaders_of
from lib_uniid.bases import SDXL
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch
from lib_uniid.methods.uniid.router import Routers
from lib_uniid.training.router_loss import imbalance, routing_loss
from lib_uniid.typing import Float
from miniature.sdxl.base import lessons
from miniature.sdxl.branches import Stage, drawn, earlier_adapter, earlier_base, face_tokens
from miniature.sdxl.networks import FACE_TOKENS, Base, nearest
from miniature.sdxl.results import exists, load, save
from miniature.sdxl.steps import Batch, Course, Rate

SEED = 171
RATE = 4e-3
BALANCE = 1.0
SHARES = {2: 0.6, 3: 0.4}
"""Of the pictures, by the number of people, where the router is trained alone."""
NOISY, FIRST = 0.4, 800
"""Share of the lessons that are as noisy as the first steps, in which it is decided who stands where."""
ORDERED, UNSEEN = 0.95, 500
"""Share of the lessons in which people stand in the order of the request, from left to right.

It holds from time UNSEEN on; before that it falls to none at 0. In the noisiest pictures nothing tells who
stands where, and in sampling it is then as the request says.
"""
AROUND = 0.3
"""What a place outside of the faces counts in the loss, in places of a face.

There the paper's loss leaves the scores to chance, and they are smoothed and compared with those in faces.
"""
COLUMNS = 1.5
"""Strength of the request's order in a lesson, in deviations of the scores per column."""
REPLAYS, ROWS = 2, 4
"""Steps for each call of the UNet, and rows of a step as a multiple of those of the call."""
KEPT = 64
"""Calls whose hidden states are kept."""
SAVED = 150.0
"""Seconds between checkpoints."""


def train(stage: Stage, branch: AdapterBranch, seconds: float, steps: int | None, out: Path) -> Routers:
    """Train and return the routers, from the checkpoint in ``out`` if there is one; it keeps checkpoints."""
    torch.manual_seed(SEED)
    stage.base.requires_grad_(False)
    routers = Routers.for_sites(stage.base.sites, FACE_TOKENS).to(stage.pictures.latents.device)
    if exists(out, "router"):
        routers.load_state_dict(load(out, "router"))
    Course(
        module=routers,
        rates=[Rate(part="", rate=RATE)],
        loss=lambda batch: loss_of(routers, batch),
        batches=replayed(stage, branch, routers),
        log=stage.log,
        name="router",
        seconds=seconds,
        steps=steps,
        average=0.99,
        keep=lambda state: save(state, out, "router"),
        every=SAVED,
    ).run()
    return routers


def loss_of(routers: Routers, states: Batch) -> Mapping[str, Tensor]:
    """The routing loss and its balance; ``states`` as of :func:`observed`."""
    absent = states["absent"][:, None].float() * -1e4
    tokens = states["tokens"].float()
    hidden = {leader: states[leader].float() for leader in routers}
    logits = [routers.at(int(one)).of(tokens)(x, x).float() + absent for one, x in hidden.items()]
    persons = states["persons"].float()
    routed, right = routing_loss(logits, persons)
    balanced = imbalance(logits, persons)
    return {"loss": routed + BALANCE * balanced, "routing": routed.detach(), "right": right}


def replayed(stage: Stage, branch: AdapterBranch, routers: Routers) -> Iterator[Batch]:
    """Without end: states of random pictures among those that the UNet gave lately."""
    device = stage.pictures.latents.device
    generator = torch.Generator(device).manual_seed(SEED + 2)
    kept: Batch = {}
    for number, batch in enumerate(batches(stage)):
        seen = observed(stage.base, branch, routers, batch)
        rows = len(seen["tokens"])
        if not kept:
            kept = {name: part.new_zeros(KEPT * rows, *part.shape[1:]) for name, part in seen.items()}
        first = number % KEPT * rows
        for name, part in seen.items():
            kept[name][first : first + rows] = part
        full = min(number + 1, KEPT) * rows
        for _ in range(REPLAYS):
            index = torch.randint(0, full, (ROWS * rows,), generator=generator, device=device)
            yield {name: part[index] for name, part in kept.items()}


@torch.no_grad()
def observed(base: Base, branch: AdapterBranch, routers: Routers, batch: Batch) -> Batch:
    """One call of the UNet: hidden states ``[b n w]`` of the leaders by their numbers, in half precision.

    ``tokens`` and ``persons`` are the people's tokens and their places (:func:`regions`), ``absent`` marks
    those who are not there.
    """
    tokens, absent = face_tokens(branch, batch["shallow"], batch["deep"]), batch["x"] > 1
    leaders = leaders_of(base.sites)
    seen: dict[int, Tensor] = {}
    maps: dict[int, Tensor] = {}

    def route(site: int, hidden: Tensor) -> Tensor:
        leader = leaders[site]
        if leader not in maps:
            seen[leader] = hidden
            scores = routers.at(leader).of(tokens)(hidden, hidden).float()
            maps[leader] = chosen(scores, ~absent).to(hidden)
        return maps[leader]

    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.is_cuda):
        states, pooled = base.states(batch["texts"], batch["texts_2"], batch["ends"])
        base.reading.tokens, base.reading.gate = tokens, torch.ones_like(batch["gate"])
        base.reading.route = route
        base.predict(batch["noisy"], batch["times"], states, pooled, batch["time_ids"])
    base.reading.route = base.reading.tokens = None
    return {str(leader): hidden.half() for leader, hidden in seen.items()} | {
        "tokens": tokens.half(),
        "absent": absent,
        "persons": batch["persons"].half(),
    }


def chosen(scores: Float[Tensor, "b n i"], present: Tensor) -> Float[Tensor, "b n i"]:
    """Each place of a square picture to one of those ``present`` ``[b i]``.

    By the scores, and by columns in the order in which people are given.
    """
    there = present[:, None].float()
    count = there.sum(-1, keepdim=True)
    centred = (scores - (scores * there).sum(-1, keepdim=True) / count) * there
    size = centred.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(1e-6)
    side = round(scores.shape[1] ** 0.5)
    places = (torch.arange(side, device=scores.device) + 0.5) / side
    centres = there.cumsum(-1) - 0.5
    distance = (places[None, :, None] * count - centres).abs().repeat(1, side, 1)
    weighed = centred / size - COLUMNS * distance + (there - 1) * 1e4
    return F.one_hot(weighed.argmax(-1), scores.shape[-1]).float()


def batches(stage: Stage) -> Iterator[Batch]:
    """Lessons of two and three people: often noisy, and then mostly in the order of the request."""
    pictures, schedule = stage.pictures, stage.schedule
    device = pictures.latents.device
    generator = torch.Generator(device).manual_seed(SEED + 1)
    several = torch.cat([pictures.of(2), pictures.of(3)])

    def chance() -> Tensor:
        return torch.rand(stage.batch, generator=generator, device=device)

    for one in lessons(pictures, schedule, stage.batch, SEED, several):
        first = (FIRST + chance() * (SDXL.trained_steps - FIRST)).long()
        times = torch.where(chance() < NOISY, first, one["times"])
        ordered = chance() < ORDERED * (times / UNSEEN).clamp(max=1)
        index = one["index"]
        # People stand from left to right in a picture's own order, and the absent come last.
        alike = torch.arange(one["order"].shape[1], device=device).expand_as(one["order"])
        order = torch.where(ordered[:, None], alike, one["order"])
        embedding, shallow, deep = stage.features.at(index, order)
        x, faces = pictures.x[index].gather(1, order), pictures.faces[index[:, None], order].float()
        yield one | {
            "times": times,
            "noisy": schedule.add(pictures.latents[index].float(), one["noise"], times),
            "x": x,
            "persons": regions(x, faces),
            "embedding": embedding,
            "shallow": shallow,
            "deep": deep,
        }


def regions(
    x: Float[Tensor, "b i"], faces: Float[Tensor, "b i height width"]
) -> Float[Tensor, "b i height width"]:
    """The places of whoever stands nearest, as the base learnt them: 1 in faces, less around them."""
    near = nearest(x, faces[0, 0].numel()).mT.unflatten(2, faces.shape[2:])
    return near * faces.amax(1, keepdim=True).clamp_min(AROUND)


def main() -> int:
    """Train the router from the results of an earlier run."""
    options = _parse()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    base = earlier_base(options.begin)
    branch, projections = earlier_adapter(options.begin, base)
    base.attach(projections)
    pictures, features = drawn(options.begin, out / "router-pictures.pt", options.pictures, SEED, SHARES)
    sys.stderr.write(f"{len(pictures)} pictures after {time.monotonic() - began:.0f} s\n")
    stage = Stage(base, pictures, features, out / "log.jsonl", options.batch)
    routers = train(stage, branch, options.minutes * 60, options.steps, out)
    save(routers.state_dict(), out, "router")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--begin", type=Path, default=Path("runs/sdxl"), help="base, adapter branch, recogniser"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/sdxl-router"))
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, beside drawing")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--steps", type=int, help="instead of the minutes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
