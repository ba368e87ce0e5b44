"""Two face recognisers of one recipe: the method's backbone, and an independent judge of its pictures.

Both have CurricularFace's layout, 56-pixel input and a 128-long ID embedding. They learn from an endless
stream of new people: two pictures of each, drawn apart, must find one another among all others of the batch
(normalised-temperature cross-entropy with a cosine margin). That alone is soon content with the few traits
that tell most people apart; so the traits themselves must be read off the embedding, too.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_uniid.encoders.curricularface import BackboneSizes, CurricularFace
from miniature.characters import TRAITS, sample_identities
from miniature.recipes.course import Course
from miniature.recipes.faces import decoded, draw_aligned
from miniature.recipes.team import Team
from miniature.recipes.vae import trained_vae

SEEDS = {"curricularface": 21, "judge": 22}
SIZES = BackboneSizes(stem=16, widths=(16, 16, 32, 32, 64, 64, 128, 128), input_size=56, embedding=128)
DECODED = {"curricularface": 0.0, "judge": 1 / 3}
SCALE, MARGIN, JITTER, TRAITS_WEIGHT = 16.0, 0.15, 2.5, 4.0


def new_recogniser() -> CurricularFace:
    """The narrow backbone with its head."""
    model = CurricularFace(SIZES)
    assert model.output_layer is not None
    model.output_layer[1] = nn.Dropout(0.0)  # fresh people every step: nothing to overfit
    return model


def match_loss(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Each row of ``first`` must be nearest to its row of ``second`` and back; the loss and the accuracy."""
    cosine = F.normalize(first) @ F.normalize(second).T
    logits = SCALE * (cosine - MARGIN * torch.eye(len(cosine)))
    target = torch.arange(len(cosine))
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    return loss, (cosine.argmax(1) == target).float().mean()


def train(out: Path, name: str, steps: int, pairs: int, begin: Path | None = None) -> None:
    """Train one recogniser, from nothing or from the weights in ``begin``, and write ``out/NAME.pt``."""
    team = Team.join()
    torch.manual_seed(SEEDS[name])
    model, generator = new_recogniser().train(), team.generator(SEEDS[name])
    if begin is not None:
        model.load_state_dict(torch.load(begin, weights_only=True))
    vae = trained_vae(out) if DECODED[name] else None
    readout = nn.Linear(SIZES.embedding, len(TRAITS))
    course = Course(
        team=team,
        module=nn.ModuleDict({"recogniser": model, "readout": readout}),
        steps=steps,
        rate=3e-3,
        log=out / f"{name}.jsonl",
        weight_decay=0.05,
        muon=True,
    )
    for step in course.run():
        who = sample_identities(pairs, generator)
        faces, _ = draw_aligned(who.repeat(2, 1), generator, jitter=JITTER)
        if vae is not None:
            some = torch.rand(len(faces), generator=generator) < DECODED[name]
            if some.any():
                faces[some] = decoded(faces[some], vae, generator)
        embeddings = model.embed(faces * 2 - 1)
        matched, right = match_loss(embeddings[:pairs], embeddings[pairs:])
        told = (readout(embeddings) - who.repeat(2, 1)).square().mean()
        step.loss = matched + TRAITS_WEIGHT * told
        step.notes = {"right": right, "traits": 1 - told.detach() / who.var()}
    if team.rank == 0:
        torch.save(model.state_dict(), out / f"{name}.pt")


@torch.no_grad()
def verification(model: CurricularFace, people: int = 500, seed: int = 9001) -> tuple[float, float, float]:
    """Best-threshold accuracy on same and different pairs of new people, and the two mean cosines."""
    generator = torch.Generator().manual_seed(seed)
    who = sample_identities(people, generator)
    model.eval()
    first, second = (F.normalize(model.embed(draw_aligned(who, generator)[0] * 2 - 1)) for _ in range(2))
    same, different = (first * second).sum(1), (first * second.roll(1, 0)).sum(1)
    cuts = torch.cat([same, different])
    accuracy = max(((same > c).float().mean() + (different <= c).float().mean()).item() / 2 for c in cuts)
    return accuracy, same.mean().item(), different.mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SEEDS)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--pairs", type=int, default=48, help="people per step and process")
    parser.add_argument("--begin", type=Path, help="weights to go on from")
    arguments = parser.parse_args()
    train(arguments.out, arguments.name, arguments.steps, arguments.pairs, arguments.begin)
    if Team.rank_of_this_process() == 0:
        trained = new_recogniser()
        trained.load_state_dict(torch.load(arguments.out / f"{arguments.name}.pt", weights_only=True))
        accuracy, same, different = verification(trained)
        sys.stderr.write(f"verification {accuracy:.4f}, same {same:.3f}, different {different:.3f}\n")
