"""The SDXL miniature's networks are those of the published layouts, and its recipes run anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lib_uniid.attention.identities import Gains, PlannedIdentity
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.methods.uniid.text_tokens import InsertedTokens
from miniature.recipes.data import token_ids
from miniature.sdxl import base, branches, pictures, recogniser, results, router
from miniature.sdxl.networks import (
    LENGTH,
    TEXT_WIDTHS,
    Base,
    ClipText,
    new_recogniser,
    vocabulary,
    with_names,
)
from miniature.sdxl.steps import Course, Rate, orthogonal
from miniature.world import LARGE, sample_scenes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn() -> pictures.Pictures:
    return pictures.render(pictures.imagine(8, 1), CPU, chunk=4)


@pytest.mark.parametrize(("width", "quick", "projection"), [(32, True, False), (64, False, True)])
def test_the_text_models_are_transformers(width: int, quick: bool, projection: bool) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    ours = ClipText(width, quick=quick, projection=projection).eval()
    config = CLIPTextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=width // 16,
        num_hidden_layers=3,
        projection_dim=width,
        hidden_act="quick_gelu" if quick else "gelu",
        bos_token_id=len(vocabulary()) - 2,
        eos_token_id=len(vocabulary()) - 1,
    )
    theirs: Any = (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()
    inner = "text_model." if any(key.startswith("text_model.") for key in theirs.state_dict()) else ""
    theirs.load_state_dict(
        {k if k.startswith("text_projection") else inner + k: v for k, v in ours.state_dict().items()}
    )
    ids, end = pictures.numbers("a person smiling at the beach")
    text = torch.tensor([ids])
    read = theirs(text, output_hidden_states=True)
    states, pooled = ours(text, torch.tensor([end]))
    torch.testing.assert_close(states, read.hidden_states[-2])
    if projection:
        torch.testing.assert_close(pooled, read.text_embeds)


def test_the_vocabulary_has_every_token_of_a_caption_and_ends_with_begin_and_end() -> None:
    assert vocabulary()[0] == 0
    assert vocabulary()[-2:] == (49406, 49407)
    ids, end = pictures.numbers("three people in red shirts in a library")
    assert tuple(vocabulary()[number] for number in ids) == token_ids(
        "three people in red shirts in a library"
    )
    assert vocabulary()[ids[end]] == 49407
    second = pictures.for_second(torch.tensor([ids]), torch.tensor([end]))[0]
    assert second[: end + 1].tolist() == list(ids[: end + 1])
    assert not second[end + 1 :].any()


def test_names_stand_where_uniid_inserts_its_tokens() -> None:
    states, names = torch.randn(2, LENGTH, sum(TEXT_WIDTHS)), torch.randn(2, 3, sum(TEXT_WIDTHS))
    told = with_names(states, names, torch.tensor([1.0, 0.0]))
    rows = Rows([Role.COND, Role.UNCOND])
    change = InsertedTokens(gains=Gains([PlannedIdentity(tokens=names[0])], 1.0))
    assert torch.equal(told, change.prepare(change.state(0.0), states, rows)(states, rows))


def test_people_of_the_large_picture_stand_apart_and_reach_its_lower_edge() -> None:
    scene = sample_scenes(12, 3, torch.Generator().manual_seed(1), size=LARGE)
    across = scene.at.x.reshape(12, 3)
    assert (across.diff(dim=1) > 0.2 * LARGE).all()
    bust = scene.at.y + scene.at.half_height * (2.9 + 1.65)
    assert (bust > LARGE).all()


def test_pictures_are_padded_to_three_people(drawn: pictures.Pictures) -> None:
    assert drawn.latents.shape[1:] == (4, LARGE // 8, LARGE // 8)
    for people in (1, 2, 3):
        mine = drawn.of(people)
        assert (drawn.x[mine] < 1).sum(1).eq(people).all()
        assert drawn.faces[mine].float().amax((2, 3)).gt(0.5).sum(1).eq(people).all()


def test_processes_imagine_the_same_as_one() -> None:
    (share,) = pictures.imagine(6, 1)
    sent = share.from_bytes(share.to_bytes())
    assert torch.equal(sent.texts, share.texts)
    for one, other in zip(sent.scenes, share.scenes, strict=True):
        assert (one.people, one.size) == (other.people, other.size)
        assert torch.equal(one.who, other.who)
        assert torch.equal(one.looks.smile, other.looks.smile)
        assert torch.equal(one.at.x, other.at.x)


def test_orthogonal_brings_all_singular_values_near_one() -> None:
    torch.manual_seed(2)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 8, 24)))
    assert ((values > 0.5) & (values < 1.4)).all()


def test_a_course_follows_the_loss_and_leaves_other_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = nn.ModuleDict({"learns": nn.Linear(8, 8), "stays": nn.Linear(8, 8)})
    before = module.get_parameter("stays.weight").clone()

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        while True:
            yield {"x": torch.randn(16, 8)}

    log = tmp_path / "log.jsonl"
    Course(
        module=module,
        rates=[Rate(part="learns", rate=2e-2)],
        loss=lambda batch: {"loss": (module["learns"](batch["x"]) - batch["x"]).square().mean()},
        batches=batches(),
        log=log,
        name="toy",
        seconds=0.0,
        steps=300,
        average=0.9,
    ).run()
    first, *_, last = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    assert last < first / 10
    assert torch.equal(module.get_parameter("stays.weight"), before)


@pytest.mark.slow
def test_no_step_waits_for_the_device(
    drawn: pictures.Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device nothing can be read back: what a CUDA graph cannot record fails there."""
    ran: list[str] = []

    def record(course: Course) -> None:
        batch = {name: value.to("meta") for name, value in next(course.batches).items()}
        for module in (course.module, model, *others):
            module.to("meta")
        for weight in course.module.parameters():
            weight.requires_grad_(True)
        course.loss(batch)["loss"].backward()
        for module in (course.module, model, *others):
            module.to_empty(device="cpu")
        ran.append(course.name)

    monkeypatch.setattr(Course, "run", record)
    model, others = Base(), list[nn.Module]()
    log = tmp_path / "log.jsonl"
    recogniser.train(CPU, log, 0.0, 4, 1)
    base.train(model, drawn, log, 0.0, 4, 1)
    features = branches.read(drawn, new_recogniser().eval(), chunk=24)
    stage = branches.Stage(model, drawn, features, log, 4)
    branches.train_text(stage, (0.0, 0.0), 1)
    adapter, projections = branches.train_adapter(stage, (0.0, 0.0), 1)
    others += [adapter, projections]
    router.train(stage, adapter, 0.0, 1)
    assert ran == ["recogniser", "base", "text-alike", "text", "adapter-alike", "adapter", "router"]


def test_results_are_kept_in_half_precision_and_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MOST", 10)
    state = {"a": torch.rand(8), "b": torch.rand(8), "c": torch.rand(2), "n": torch.tensor(3)}
    results.save(state, tmp_path, "some")
    assert len(list(tmp_path.glob("some-*.pt"))) == 2
    read = results.load(tmp_path, "some")
    assert read["n"] == 3
    assert all(torch.equal(read[name], state[name].half().float()) for name in "abc")


def test_layers_of_a_transformer_follow_its_first() -> None:
    leaders = router.leaders(Base().sites)
    assert len(leaders) == 70
    assert len({*leaders.values()}) == 11
    assert all(first <= site for site, first in leaders.items())
