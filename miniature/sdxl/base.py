"""The base model learns captions and identities at once: as names in the text, and as tokens beside it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lib_uniid.bases import SDXL
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from miniature.sdxl.networks import SIDE, Base, with_names
from miniature.sdxl.pictures import CAPTIONS, MOST, Pictures, for_second
from miniature.sdxl.steps import Batch, Course, Rate

SEED = 131
EMPTY, TOKENS, NAMED, UNNAMED = 0.1, 0.6, 0.5, 0.1
"""Shares of pictures: without a caption, with tokens, with a name where one person is, of people unnamed."""
FACE_WEIGHT = 4.0


def lessons(
    pictures: Pictures,
    schedule: NoiseSchedule,
    batch: int,
    seed: int,
    among: Tensor | None = None,
    late: float = 1.0,
) -> Iterator[Batch]:
    """Batches without end, of all pictures or of those ``among``.

    Times are uniform numbers to the power of ``late``: below 1, more of them are noisy.
    """
    device = pictures.latents.device
    generator = torch.Generator(device).manual_seed(seed)

    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    def whole(limit: int, *shape: int) -> Tensor:
        return torch.randint(0, limit, shape, generator=generator, device=device)

    while True:
        index = whole(len(pictures) if among is None else len(among), batch)
        if among is not None:
            index = among[index]
        said = torch.where(chance(batch) < EMPTY, CAPTIONS - 1, whole(CAPTIONS - 1, batch))
        texts, ends = pictures.texts[index, said].long(), pictures.ends[index, said]
        order = chance(batch, MOST).argsort(1)
        times = (chance(batch) ** late * SDXL.trained_steps).long().clamp(max=SDXL.trained_steps - 1)
        latents = pictures.latents[index].float()
        noise = torch.randn(latents.shape, generator=generator, device=device)
        noise = noise + 0.12 * torch.randn(*latents.shape[:2], 1, 1, generator=generator, device=device)
        alone = pictures.count[index] == 1
        yield {
            "index": index,
            "noisy": schedule.add(latents, noise, times),
            "noise": noise,
            "times": times,
            "weight": schedule.even_weight(times),
            "texts": texts,
            "texts_2": for_second(texts, ends),
            "ends": ends,
            "order": order,
            "who": pictures.who[index].gather(1, order[..., None].expand(-1, -1, pictures.who.shape[2])),
            "x": pictures.x[index].gather(1, order),
            "faces": pictures.faces[index].float().amax(1),
            "gate": (chance(batch) < TOKENS).float(),
            "named": ((chance(batch) < NAMED) & alone).float(),
            "unnamed": chance(batch, MOST) < UNNAMED,
            "time_ids": time_ids(batch, generator, device),
        }


def time_ids(batch: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Original size, crop and target size; half of them at random, so that other sizes do no harm."""
    usual = torch.tensor([SIDE, SIDE, 0, 0, SIDE, SIDE], device=device).float().expand(batch, -1)
    limits = torch.tensor([2 * SIDE, 2 * SIDE, SIDE // 2, SIDE // 2, 2 * SIDE, 2 * SIDE], device=device)
    drawn = (torch.rand(batch, 6, generator=generator, device=device) * limits).round()
    some = torch.rand(batch, 1, generator=generator, device=device) < 0.5
    return torch.where(some, drawn, usual)


def loss_of(base: Base, batch: Batch) -> Mapping[str, Tensor]:
    """The error of the noise, faces counted several times."""
    states, pooled = base.states(batch["texts"], batch["texts_2"], batch["ends"])
    names = base.sized(base.names(first_of(batch["who"], batch["x"]), batch["unnamed"][:, 0]))
    base.reading.tokens = base.faces(batch["who"], batch["unnamed"])
    base.reading.x, base.reading.gate, base.reading.maps = batch["x"], batch["gate"], {}
    predicted = base.predict(
        batch["noisy"], batch["times"], with_names(states, names, batch["named"]), pooled, batch["time_ids"]
    )
    return {"loss": error(predicted, batch)}


def first_of(people: Tensor, x: Tensor) -> Tensor:
    """The leftmost person's entry of ``[b i ...]``: the only one where one person is."""
    return people[torch.arange(len(x), device=x.device), x.argmin(1)]


def error(predicted: Tensor, batch: Batch) -> Tensor:
    """As of :func:`lib_uniid.training.diffusion.face_weighted_error`, in float32."""
    return face_weighted_error(
        predicted.float(), batch["noise"], batch["faces"], batch["weight"], FACE_WEIGHT
    )


def schedule_on(device: torch.device) -> NoiseSchedule:
    """SDXL's."""
    return NoiseSchedule(NoiseSchedule.of(SDXL).kept.to(device))


def train(
    base: Base,
    pictures: Pictures,
    log: Path,
    seconds: float,
    batch: int,
    steps: int | None,
    seed: int = SEED,
) -> None:
    """Train everything of the base."""
    batches = lessons(pictures, schedule_on(pictures.latents.device), batch, seed)
    rates = [
        Rate(part="unet.", rate=2e-3),
        Rate(part="text", rate=2e-3),
        Rate(part="", rate=5e-3),
    ]
    Course(
        module=base,
        rates=rates,
        loss=lambda one: loss_of(base, one),
        batches=batches,
        log=log,
        name="base",
        seconds=seconds,
        steps=steps,
    ).run()
