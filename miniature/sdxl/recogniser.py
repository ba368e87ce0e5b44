"""The narrow iresnet100 learns who is who from an endless stream of new people, two crops of each."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_uniid.encoders.iresnet import IResNet
from miniature.characters import TRAITS, sample_identities
from miniature.recipes.faces import draw_aligned
from miniature.recipes.recogniser import JITTER, MARGIN, SCALE, TRAITS_WEIGHT
from miniature.sdxl.networks import RECOGNISER, new_recogniser
from miniature.sdxl.steps import Batch, Course, Rate

SEED = 121
CROP = RECOGNISER.input_size


class Reader(nn.Module):
    """The recogniser with a linear readout of the traits, which is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.recogniser = new_recogniser()
        self.readout = nn.Linear(RECOGNISER.embedding, len(TRAITS))

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """Each person's two crops must be nearest to one another, and tell the traits."""
        embeddings, _ = self.recogniser(batch["crops"])
        first, second = F.normalize(embeddings.float()).chunk(2)
        cosine = first @ second.T
        target = torch.arange(len(cosine), device=cosine.device)
        logits = SCALE * (cosine - MARGIN * torch.eye(len(cosine), device=cosine.device))
        matched = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        told = (self.readout(embeddings).float() - batch["who"]).square().mean()
        return {
            "loss": matched + TRAITS_WEIGHT * told,
            "right": (cosine.argmax(1) == target).float().mean(),
            "traits": 1 - 3 * told,
        }


def crops(device: torch.device, pairs: int, seed: int = SEED) -> Iterator[Batch]:
    """Batches without end: ``crops`` in [-1, 1], those of a person ``pairs`` apart."""
    generator = torch.Generator(device).manual_seed(seed)
    while True:
        with device, torch.no_grad():
            who = sample_identities(pairs, generator).repeat(2, 1)
            faces, _ = draw_aligned(who, generator, CROP, jitter=JITTER)
        yield {"crops": faces * 2 - 1, "who": who}


def train(device: torch.device, log: Path, seconds: float, pairs: int, steps: int | None) -> IResNet:
    """The trained recogniser."""
    torch.manual_seed(SEED)
    reader = Reader().to(device).train()
    Course(
        module=reader,
        rates=[Rate(part="", rate=4e-3)],
        loss=reader.loss,
        batches=crops(device, pairs),
        log=log,
        name="recogniser",
        seconds=seconds,
        steps=steps,
        average=0.99,
    ).run()
    return reader.recogniser.eval()
