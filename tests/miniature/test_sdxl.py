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
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.methods.uniid.loading import load_weights
from lib_uniid.methods.uniid.text_tokens import InsertedTokens
from miniature.recipes.data import token_ids
from miniature.sdxl import assemble, base, branches, pictures, recogniser, results, router
from miniature.sdxl.networks import (
    LENGTH,
    TEXT_WIDTHS,
    Base,
    ClipText,
    new_adapter_branch,
    new_recogniser,
    new_text_branch,
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
    router.train(stage, adapter, 0.0, 1, tmp_path)
    assert ran == ["recogniser", "base", "text-alike", "text", "adapter-alike", "adapter", "router"]


@pytest.mark.slow
def test_a_router_is_trained_from_kept_results_and_shipped_in_the_format_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    torch.manual_seed(4)
    model = Base()
    adapter = nn.ModuleDict({"branch": new_adapter_branch(), "projections": model.projections})
    for name, module in (
        ("base", model),
        ("adapter_branch", adapter),
        ("text_branch", new_text_branch()),
        ("recogniser", new_recogniser()),
    ):
        results.save(module.state_dict(), tmp_path, name)
    arguments = ["router", "--begin", tmp_path, "--out", out, "--pictures", 4, "--batch", 2, "--steps", 2]
    monkeypatch.setattr("sys.argv", [str(one) for one in arguments])
    assert router.main() == 0
    trained = results.load(out, "router")
    results.save(trained, tmp_path, "router")
    assemble.keep(tmp_path, tmp_path, tmp_path / "base.safetensors")
    folder = ModelFolder(tmp_path, also=())
    weights = load_weights(None, folder.find("adapter_branch"), folder.find("uniid_router"))
    assert weights.router is not None
    shipped = weights.router.state_dict()
    assert all(torch.equal(shipped[name].float(), tensor) for name, tensor in trained.items())
    (tmp_path / "router-0.pt").unlink()
    assemble.keep(tmp_path, tmp_path, tmp_path / "base.safetensors")
    assert not (tmp_path / assemble.ROUTER).exists()


def test_in_a_lesson_a_place_goes_by_the_scores_and_by_the_columns_of_those_who_are_there() -> None:
    present = torch.tensor([[True, False, True]])
    undecided = router.chosen(torch.zeros(1, 16, 3), present)[0].argmax(-1).view(4, 4)
    assert undecided.tolist() == [[0, 0, 2, 2]] * 4
    scores = torch.zeros(1, 16, 3)
    scores[..., 1] = 9.0  # absent
    scores[:, 0, 2] = 9.0
    assert router.chosen(scores, present)[0].argmax(-1).view(4, 4)[0].tolist() == [2, 0, 2, 2]


def test_noisy_lessons_mostly_have_people_in_the_order_of_the_request(
    drawn: pictures.Pictures, tmp_path: Path
) -> None:
    stage = branches.Stage(Base(), drawn, no_features(len(drawn)), tmp_path / "log.jsonl", 400)
    batch = next(router.batches(stage))
    there = batch["x"] < 1
    assert (there.sum(1) > 1).all()
    in_order = (batch["x"].diff(dim=1) > 0).all(1)
    noisy = batch["times"] > 500
    assert in_order[noisy].float().mean() > 0.9
    assert in_order[batch["times"] < 100].float().mean() < 0.5
    assert noisy.float().mean() > 0.6
    faces = batch["persons"].amax((2, 3)) > 0.5
    assert torch.equal(faces, there)


def no_features(count: int) -> branches.Features:
    taps = torch.zeros(count, 3, 1, 1)
    return branches.Features(taps[..., 0], taps, taps)


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
