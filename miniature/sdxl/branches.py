"""UniID's two branches, each trained alone on the frozen base with real features of other pictures."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from lib_uniid.encoders.iresnet import IResNet
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch, on_one_grid
from lib_uniid.methods.uniid.text_branch import TextBranch
from lib_uniid.training.diffusion import NoiseSchedule
from lib_uniid.typing import Float, Int
from miniature.recipes.faces import draw_aligned
from miniature.sdxl.base import error, first_of, lessons, schedule_on
from miniature.sdxl.networks import (
    Base,
    SiteProjections,
    new_adapter_branch,
    new_recogniser,
    new_text_branch,
    with_names,
)
from miniature.sdxl.pictures import Pictures, imagine, render
from miniature.sdxl.recogniser import CROP
from miniature.sdxl.results import load
from miniature.sdxl.steps import Batch, Course, Rate

SEED = 161
WITHOUT_FACE = 0.1
"""Share of pictures whose face is replaced by zeros, as in the published training."""


@dataclass(frozen=True, slots=True)
class Features:
    """One reference for each person of each picture, ``[n i ...]`` in half precision; 0 for the absent."""

    embedding: Float[Tensor, "n i e"]
    shallow: Float[Tensor, "n i t s"]
    deep: Float[Tensor, "n i u c"]

    def at(self, index: Int[Tensor, " b"], order: Int[Tensor, "b i"]) -> tuple[Tensor, Tensor, Tensor]:
        """Of some pictures, people in some order."""
        at = index[:, None], order
        return self.embedding[at].float(), self.shallow[at].float(), self.deep[at].float()


@torch.no_grad()
def read(pictures: Pictures, recogniser: IResNet, seed: int = SEED, chunk: int = 512) -> Features:
    """Draw a reference of each person and read it."""
    device = pictures.latents.device
    generator = torch.Generator(device).manual_seed(seed)
    parts: list[tuple[Tensor, ...]] = []
    for who in pictures.who.flatten(0, 1).split(chunk):
        with device:
            faces, _ = draw_aligned(who, generator, CROP)
            embedding, taps = features_of(recogniser, faces)
        *finer, last = taps
        parts.append(
            (
                embedding.half(),
                on_one_grid([tap.float() for tap in finer]).half(),
                rearrange(last, "b c h w -> b (h w) c").half(),
            )
        )
    joined = (torch.cat(column).unflatten(0, (len(pictures), -1)) for column in zip(*parts, strict=True))
    return Features(*joined)


def drawn(
    begin: Path, kept: Path, count: int, seed: int, shares: Mapping[int, float], shirts: bool = False
) -> tuple[Pictures, Features]:
    """Pictures, and the features of their people by the recogniser of ``begin``, drawn once."""
    if not kept.exists():
        recogniser = new_recogniser().eval()
        recogniser.load_state_dict(load(begin, "recogniser"))
        imagined = imagine(count, 1, seed, shares, shirts)
        pictures = render(imagined, torch.device("cpu"), seed, chunk=32)
        features = read(pictures, recogniser, seed, chunk=64)
        torch.save(
            [{f.name: getattr(one, f.name) for f in fields(one)} for one in (pictures, features)], kept
        )
    drawn, of_people = torch.load(kept, weights_only=True)
    return Pictures(**drawn), Features(**of_people)


def earlier_base(begin: Path) -> Base:
    """The base of earlier results; names and faces of exact traits are new where they were not kept."""
    base = Base()
    state = base.state_dict()
    base.load_state_dict(state | load(begin, "base"))
    return base


def earlier_adapter(begin: Path, base: Base) -> tuple[AdapterBranch, SiteProjections]:
    """The adapter branch of earlier results."""
    branch, projections = new_adapter_branch(), SiteProjections(base.sites)
    both = load(begin, "adapter_branch")
    for prefix, module in (("branch.", branch), ("projections.", projections)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in both.items() if k.startswith(prefix)})
    return branch, projections


def features_of(recogniser: IResNet, faces: Float[Tensor, "b 3 s s"]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The ID embedding and the taps of crops in [0, 1]."""
    return recogniser(faces * 2 - 1)


def face_tokens(branch: AdapterBranch, shallow: Tensor, deep: Tensor) -> Float[Tensor, "b i k d"]:
    """The adapter branch on features that are on its grid already."""
    latents = branch.latents.expand(shallow.shape[0] * shallow.shape[1], -1, -1)
    tokens = branch.adapter_resampler(latents, shallow.flatten(0, 1), deep.flatten(0, 1))
    return tokens.unflatten(0, shallow.shape[:2])


def name_tokens(branch: TextBranch, embedding: Tensor, deep: Tensor) -> Float[Tensor, "b k d"]:
    """The text branch's tokens for both text models, joined."""
    side = round(deep.shape[1] ** 0.5)
    tap = rearrange(deep, "b (h w) c -> b c h w", h=side)
    return torch.cat(branch(embedding, tap), -1)


@dataclass(frozen=True, slots=True)
class Stage:
    """A frozen base, its pictures and the references of their people."""

    base: Base
    pictures: Pictures
    features: Features
    log: Path
    batch: int

    @property
    def schedule(self) -> NoiseSchedule:
        return schedule_on(self.pictures.latents.device)

    def batches(self, seed: int, among: Tensor | None = None, late: float = 1.0) -> Iterator[Batch]:
        """Lessons with the features of people; ``without`` marks those replaced by zeros."""
        generator = torch.Generator(self.pictures.latents.device).manual_seed(seed + 1)
        for one in lessons(self.pictures, self.schedule, self.batch, seed, among, late):
            embedding, shallow, deep = self.features.at(one["index"], one["order"])
            without = torch.rand(self.batch, generator=generator, device=deep.device) < WITHOUT_FACE
            kept = (~without).float()
            yield one | {
                "embedding": embedding * kept[:, None, None],
                "shallow": shallow * kept[:, None, None, None],
                "deep": deep * kept[:, None, None, None],
                "without": without,
            }

    def learn(
        self,
        module: nn.Module,
        loss: Callable[[Batch], Mapping[str, Tensor]],
        name: str,
        rate: float,
        seconds: float,
        steps: int | None,
        batches: Iterator[Batch],
    ) -> None:
        """One course at one rate."""
        Course(
            module=module,
            rates=[Rate(part="", rate=rate)],
            loss=loss,
            batches=batches,
            log=self.log,
            name=name,
            seconds=seconds,
            steps=steps,
            average=0.99,
        ).run()


def train_text(stage: Stage, seconds: tuple[float, float], steps: int | None) -> TextBranch:
    """First to say what the base's own names say, then to draw the person by the base's error alone."""
    base = stage.base.requires_grad_(False)
    torch.manual_seed(SEED)
    branch = new_text_branch().to(stage.pictures.latents.device)

    def alike(batch: Batch) -> Mapping[str, Tensor]:
        who = first_of(batch["who"], batch["x"])
        told = name_tokens(branch, *(first_of(batch[n], batch["x"]) for n in ("embedding", "deep")))
        with torch.no_grad():
            wanted = base.sized(base.names(who, batch["without"])).float()
        return _explained(told.float(), wanted)

    def drawn(batch: Batch) -> Mapping[str, Tensor]:
        told = name_tokens(branch, *(first_of(batch[n], batch["x"]) for n in ("embedding", "deep")))
        with torch.no_grad():
            states, pooled = base.states(batch["texts"], batch["texts_2"], batch["ends"])
        base.reading.tokens = None
        states = with_names(states, told, torch.ones_like(batch["named"]))
        predicted = base.predict(batch["noisy"], batch["times"], states, pooled, batch["time_ids"])
        return {"loss": error(predicted, batch)}

    alone = stage.pictures.of(1)
    stage.learn(branch, alike, "text-alike", 4e-3, seconds[0], steps, stage.batches(SEED + 1, alone))
    stage.learn(branch, drawn, "text", 1.5e-3, seconds[1], steps, stage.batches(SEED + 2, alone))
    return branch


def train_adapter(
    stage: Stage, seconds: tuple[float, float], steps: int | None
) -> tuple[AdapterBranch, SiteProjections]:
    """The same for the adapter branch, whose projections begin as those that conditioned the base."""
    base = stage.base.requires_grad_(False)
    torch.manual_seed(SEED + 10)
    device = stage.pictures.latents.device
    branch, projections = new_adapter_branch().to(device), SiteProjections(base.sites).to(device)
    projections.load_state_dict(base.projections.state_dict())

    def alike(batch: Batch) -> Mapping[str, Tensor]:
        told = face_tokens(branch, batch["shallow"], batch["deep"])
        with torch.no_grad():
            without = batch["without"][:, None].expand(batch["x"].shape)
            wanted = base.faces(batch["who"], without).float()
        return _explained(told.float(), wanted)

    stage.learn(branch, alike, "adapter-alike", 4e-3, seconds[0], steps, stage.batches(SEED + 11))
    train_adapter_further(stage, branch, projections, seconds[1], steps)
    return branch, projections


def train_adapter_further(
    stage: Stage, branch: AdapterBranch, projections: SiteProjections, seconds: float, steps: int | None
) -> None:
    """The adapter branch and its projections, by the base's error."""
    base = stage.base.requires_grad_(False)
    base.attach(projections)

    def of_base(batch: Batch) -> Mapping[str, Tensor]:
        with torch.no_grad():
            states, pooled = base.states(batch["texts"], batch["texts_2"], batch["ends"])
        reading = base.reading
        reading.tokens = face_tokens(branch, batch["shallow"], batch["deep"])
        reading.x, reading.maps, reading.gate = batch["x"], {}, torch.ones_like(batch["gate"])
        predicted = base.predict(batch["noisy"], batch["times"], states, pooled, batch["time_ids"])
        return {"loss": error(predicted, batch)}

    both = nn.ModuleDict({"branch": branch, "projections": projections})
    stage.learn(both, of_base, "adapter", 1.0e-3, seconds, steps, stage.batches(SEED + 12))


def _explained(told: Tensor, wanted: Tensor) -> Mapping[str, Tensor]:
    difference = (told - wanted).square().mean()
    return {"loss": difference, "explained": 1 - difference.detach() / wanted.var(0).mean()}
