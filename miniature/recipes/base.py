"""The base model: a narrow SD1.5 (text model and UNet) trained on captions and identities.

Stable Diffusion was trained on millions of faces with descriptions and names before an adapter is added to
it. Captions of the drawn world have no identities, and a base trained on them alone cannot use one: an
adapter on top of it, frozen, hardly changed faces (error with the right person .88 of that with a wrong one
and at rest; words reach .8). So the second half of the training conditions the base on identities, by tokens
made from the traits themselves (:class:`TraitTokens`).
"""

import argparse
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.injection import injected
from lib_uniid.attention.routing import Choose
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.bases import SD15
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from lib_uniid.training.diffusion import NoiseSchedule, face_weighted_error
from miniature.characters import TRAITS
from miniature.recipes.course import Course
from miniature.recipes.data import Library, known_tokens
from miniature.recipes.team import Team

SEED = 31
TEXT_WIDTH, TOKENS = 64, 16
PEOPLE_RATE, UNNAMED, WORDS_ONLY = 6e-3, 0.1, 0.2


def new_unet() -> Any:
    """The narrow UNet in SD1.5's layout: four levels, 16 cross-attention sites."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 64, 128, 64),
        layers_per_block=2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=32,
    )


def new_text_model() -> Any:
    """The narrow CLIP text model with the full official vocabulary."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_attention_heads=4,
            num_hidden_layers=2,
            projection_dim=TEXT_WIDTH,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


class TraitTokens(nn.Module):
    """Identity tokens from exact traits, and the null identity's."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = nn.Sequential(
            nn.Linear(len(TRAITS), 256), nn.GELU(), nn.Linear(256, TOKENS * TEXT_WIDTH)
        )
        self.slots = nn.Parameter(torch.randn(TOKENS, TEXT_WIDTH))
        self.register_parameter("nobody", nn.Parameter(torch.zeros(TOKENS, TEXT_WIDTH)))
        self.norm = nn.LayerNorm(TEXT_WIDTH)

    @property
    def null(self) -> nn.Parameter:
        """The null identity; stored files call it ``nobody``."""
        return self.get_parameter("nobody")

    def forward(self, who: Tensor, unnamed: Tensor | None = None) -> Tensor:
        """Traits ``[b traits]`` to tokens ``[b k d]``; the null identity where ``unnamed`` is true."""
        described = 3 * self.traits(who).unflatten(1, (TOKENS, TEXT_WIDTH))
        if unnamed is not None:
            described = torch.where(unnamed[:, None, None], self.null, described)
        return self.norm(described + self.slots)

    def null_tokens(self) -> Tensor:
        """The null identity's tokens ``[k d]``."""
        return self.norm(self.null + self.slots)


def new_base() -> nn.ModuleDict:
    """``unet`` and ``text``; ``known`` and ``adapter`` condition it on identities."""
    unet = new_unet()
    adapter = UniPortraitAdapter.for_sites(find_sites(unet), rank=1)
    adapter.add_router(TOKENS)
    return nn.ModuleDict({"unet": unet, "text": new_text_model(), "known": TraitTokens(), "adapter": adapter})


def train(
    out: Path,
    words: int,
    people: int,
    batch: int,
    begin: Path | None = None,
    seed: int = SEED,
    rate: float = PEOPLE_RATE,
) -> None:
    """Train so many steps on words, then so many on words and people; write ``out/base.pt``.

    ``begin`` holds weights that know words and people already; then ``people`` more steps are all there is,
    and ``seed`` should be another than theirs, or they see the same pictures under the same noise again.
    """
    team = Team.join()
    torch.manual_seed(SEED)
    library = Library.load(out / "pictures.pt")
    model = new_base()
    if begin is None:
        learn_words(model, library, team, out / "base-words.jsonl", words, batch)
        begin_with_people(model)
    else:
        model.load_state_dict(torch.load(begin, weights_only=True))
    learn_people(model, library, team, out / "base.jsonl", people, batch, seed, rate)
    if team.rank == 0:
        torch.save(model.state_dict(), out / "base.pt")


def learn_words(
    model: nn.ModuleDict, library: Library, team: Team, log: Path, steps: int, batch: int
) -> None:
    """From nothing to pictures that obey captions."""
    unet: Any = model["unet"]
    text: Any = model["text"]
    with torch.no_grad():
        text.get_input_embeddings().weight.mul_(2.0)
        unknown = torch.ones(49408, dtype=torch.bool)
        unknown[known_tokens()] = False
        text.get_input_embeddings().weight[unknown] = 0
    schedule, generator = NoiseSchedule.of(SD15), team.generator(SEED)
    rng = random.Random(SEED * 1009 + team.rank)
    words = nn.ModuleDict({"unet": unet, "text": text})
    course = Course(team=team, module=words, steps=steps, rate=1.2e-3, log=log, average=0.997, save_every=200)
    for step in course.run():
        index = torch.randint(0, len(library), (batch,), generator=generator)
        tokens = library.tokens(index, rng, empty=0.1)
        latents = library.latents(index)
        times = torch.randint(0, 1000, (batch,), generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        states = text(tokens).last_hidden_state
        predicted = unet(schedule.add(latents, noise, times), times, states).sample
        step.loss = face_weighted_error(
            predicted, noise, library.face_maps(index), schedule.weight(times), face_weight=3.0
        )


def begin_with_people(model: nn.ModuleDict) -> None:
    """Identity keys like the text's, and values that have no say at all yet."""
    adapter = model["adapter"]
    assert isinstance(adapter, UniPortraitAdapter)
    with torch.no_grad():
        for site in find_sites(model["unet"]):
            if site.cross:
                faceid = adapter.faceid_site(site.index)
                faceid.to_k_faceid.weight.copy_(site.to_k.weight)
                faceid.to_v_faceid.weight.zero_()


def learn_people(
    model: nn.ModuleDict,
    library: Library,
    team: Team,
    log: Path,
    steps: int,
    batch: int,
    seed: int,
    rate: float,
) -> None:
    """Captions go on as before; beside them the base is told who is where, in most of the steps."""
    unet: Any = model["unet"]
    text: Any = model["text"]
    adapter, known = model["adapter"], model["known"]
    assert isinstance(adapter, UniPortraitAdapter)
    sites = find_sites(unet)
    for name, weight in adapter.named_parameters():
        weight.requires_grad_("k_faceid" in name or "v_faceid" in name)
    schedule, generator = NoiseSchedule.of(SD15), team.generator(seed + 1)
    rng, shuffle = random.Random(seed * 1013 + team.rank), random.Random(seed + 1)
    course = Course(
        team=team,
        module=model,
        steps=steps,
        rate=rate,
        log=log,
        average=0.997,
        save_every=200,
        slow={"unet.": 0.2, "text.": 0.2},
        muon=True,
    )
    rows = Rows([Role.COND] * batch)
    for step in course.run():
        count = shuffle.choices(list(library.groups), [len(g.encoded) for g in library.groups.values()])[0]
        group = library.groups[count]
        index = torch.randint(0, len(group.encoded), (batch,), generator=generator)
        plan = None
        if shuffle.random() >= WORDS_ONLY:
            order = torch.stack([torch.randperm(count, generator=generator) for _ in range(batch)])
            places = index[:, None] * count + order
            unnamed = torch.rand(batch * count, generator=generator) < UNNAMED
            tokens = known(group.scene.who[places.flatten()], unnamed).unflatten(0, (batch, count))
            choose = nearest(group.scene.at.x[places] / group.scene.size)
            plan = build(
                adapter,
                sites,
                [PlannedIdentity(tokens=one) for one in tokens.unbind(1)],
                None,
                PlanSettings(id_scale=1.0, lora_scale=0.0, choose=choose),
            )
        times = torch.randint(0, 1000, (batch,), generator=generator)
        latents = group.encoded[index].float()
        noise = schedule.noise(latents.shape, generator)
        states = text(library.tokens(index + library.first(count), rng, empty=0.1)).last_hidden_state
        with injected(sites, plan, rows, merge_lora=False):
            predicted = unet(schedule.add(latents, noise, times), times, states).sample
        faces = group.persons[index].float().amax(1)
        step.loss = face_weighted_error(predicted, noise, faces, schedule.even_weight(times), face_weight=4.0)


def nearest(x: Tensor) -> Choose:
    """The routing that the drawing tells: each place to whoever stands nearest; ``x`` is ``[b i]``."""

    def choose(logits: Tensor) -> Tensor:
        side = round(logits.shape[1] ** 0.5)
        columns = (torch.arange(side) + 0.5) / side
        closest = (x[:, None, :] - columns[None, :, None]).abs().argmin(-1)
        return nn.functional.one_hot(closest, x.shape[1]).float().repeat(1, side, 1)

    return choose


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--words", type=int, default=2800, help="steps on words alone")
    parser.add_argument("--people", type=int, default=4300, help="further steps on words and people")
    parser.add_argument("--batch", type=int, default=16, help="per process")
    parser.add_argument("--begin", type=Path, help="weights of an earlier run to go on from")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--rate", type=float, default=PEOPLE_RATE, help="of the steps on words and people")
    arguments = parser.parse_args()
    train(
        arguments.out,
        arguments.words,
        arguments.people,
        arguments.batch,
        arguments.begin,
        arguments.seed,
        arguments.rate,
    )
