"""The recipes, a step or two of each on a handful of pictures: what they write is what the product reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.faces.detection import FaceFinder
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Identity
from lib_uniid.onnx_header import read_onnx_header
from miniature.assemble import assemble, record, write_pack
from miniature.recipes import (
    base,
    clip,
    data,
    detector,
    features,
    identity,
    meter,
    recogniser,
    router,
    vae,
)
from miniature.recipes.__main__ import take
from miniature.recipes.course import Course
from miniature.recipes.kept import kept_results
from miniature.recipes.team import Team

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What recipes leave that hardly began."""
    out = tmp_path_factory.mktemp("trained")
    vae.train(out, inner_steps=1, lift_steps=1, steps=1, decoder_steps=1)
    detector.train(out, steps=1, batch=1)
    clip.train(out, steps=1, batch=2)
    for name in recogniser.SEEDS:
        recogniser.train(out, name, steps=1, pairs=2)
    meter.train(out, steps=1, batch=8)
    data.build(out, pictures=6, chunk=2)
    base.train(out, words=2, people=2, batch=2)
    features.build(out)
    identity.train(out, steps=2, batch=2, prepared=2)
    router.train(out, steps=2, batch=2, weight=router.LAMBDA, name="router", prepared=1)
    return out


@pytest.fixture(scope="module")
def models(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder that they make."""
    folder = tmp_path_factory.mktemp("models")
    assemble(trained, folder)
    return folder


ENCODER = "CurricularFace"


def person(models: Path, name: str, seed: int) -> Identity:
    studio = open_studio(models, device="cpu")
    crop = np.random.default_rng(seed).integers(0, 256, (1, 224, 224, 3), np.uint8)
    embedding = np.eye(1, 128, seed, dtype=np.float32)[0]
    return Identity(name=name, features={ENCODER: studio.models.encode(crop)}, embedding=embedding)


def test_the_product_makes_a_picture_of_two_people_with_what_the_recipes_wrote(models: Path) -> None:
    people = {name: person(models, name, seed) for seed, name in enumerate(("Anna", "Ben"))}
    settings = GenerationSettings(
        prompt="two friends at a winter market",
        people=tuple(PersonSettings(name=name) for name in people),
        steps=2,
    )
    made = open_studio(models, device="cpu").generate(settings, people)[0]
    assert made.picture.shape == (128, 128, 3)
    assert made.routing is not None
    assert made.routing.shape == (2, 16, 16)


def test_the_whole_chain_fits_into_forty_megabytes(models: Path) -> None:
    size = sum(path.stat().st_size for path in models.rglob("*") if path.is_file())
    assert size <= 40_000_000


def test_insightface_reads_the_pack(models: Path) -> None:
    finder = FaceFinder(models / "insightface" / "models" / "miniature", recognise=True)
    faces = finder.find(np.zeros((128, 128, 3), np.uint8))  # hardly trained: it need not find anything
    assert all(face.embedding is not None and face.embedding.shape == (128,) for face in faces)
    header = read_onnx_header(models / "insightface" / "models" / "miniature" / "w600k_r50.onnx")
    assert header is not None
    assert header.recognises


def test_stage_two_leaves_the_id_embedding_alone(models: Path) -> None:
    faceid = load_file(models / "uniid" / "uniportrait-faceid_sd15.safetensors")
    routed = load_file(models / "uniid" / "uniportrait-router_sd15.safetensors")
    assert not any("faceid." in name.removeprefix("faceid_adapter.") for name in routed)
    changed = "faceid_adapter.1.to_out_lora.up.weight"
    assert not torch.equal(faceid[changed], routed[changed])


def test_kept_results_go_on_in_full_precision_through_the_encoder_and_the_export(tmp_path: Path) -> None:
    for name in kept_results():
        assert take(name, tmp_path / f"{name}.pt")
    crop = np.full((1, 224, 224, 3), 128, np.uint8)
    intrinsic, structure = features.new_encoder(tmp_path).per_reference(crop)
    assert structure is not None
    assert intrinsic.dtype == structure.dtype == torch.float32
    identity.frozen_base(tmp_path)
    write_pack(tmp_path, tmp_path / "pack")
    assert FaceFinder(tmp_path / "pack", recognise=True).find(np.zeros((128, 128, 3), np.uint8)) == ()


def test_the_base_continues_from_an_earlier_run_s_weights(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures.pt").write_bytes((trained / "pictures.pt").read_bytes())
    base.train(tmp_path, words=2, people=0, batch=2, begin=trained / "base.pt")
    before, after = (torch.load(folder / "base.pt", weights_only=True) for folder in (trained, tmp_path))
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not (tmp_path / "base-words.jsonl").exists()


def test_the_decoder_s_own_turn_leaves_latents_what_they_are(trained: Path, tmp_path: Path) -> None:
    vae.train(tmp_path, 0, 0, 0, decoder_steps=2, begin=trained / "vae.pt")
    before, after = (torch.load(folder / "vae.pt", weights_only=True) for folder in (trained, tmp_path))
    changed = {name.split(".")[0] for name in before if not torch.equal(after[name], before[name])}
    assert changed == {"decoder", "post_quant_conv"}


def test_ordered_samples_follow_the_first_principal_component() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([1.0, 5.0, 1.0, 1.0])
    means = {count: torch.randn(60, count, 4, generator=generator) * spread for count in (2, 3)}
    chosen = router.in_order(means)
    for count, mean in means.items():
        there = [i for i in range(60) if mean[i, :, 1].argsort().tolist() == list(range(count))]
        back = [i for i in range(60) if mean[i, :, 1].argsort().tolist() == list(range(count))[::-1]]
        assert max(len(set(chosen[count].tolist()) & set(way)) / len(way) for way in (there, back)) > 0.8
        assert len(chosen[count]) < 60 / count + 10


def test_all_lessons_count_where_none_are_in_order() -> None:
    means = {2: torch.zeros(2, 2, 4), 3: torch.zeros(1, 3, 4)}
    assert [len(found) for found in router.in_order(means).values()] == [2, 1]


def test_twins_have_one_face_in_both_places() -> None:
    latents = torch.arange(32.0).reshape(2, 1, 1, 16)
    persons = torch.zeros(2, 2, 1, 16)
    persons[:, 0, 0, 3], persons[:, 1, 0, 12] = 1.0, 1.0
    pictures, masks = router.twins(latents, persons, torch.tensor([0, 1]))
    assert torch.equal(pictures[0, 0, 0, 8:], latents[0, 0, 0, :8])
    assert torch.equal(pictures[1, 0, 0, :8], latents[1, 0, 0, 8:])
    assert masks.nonzero().tolist() == [[0, 0, 0, 3], [0, 1, 0, 11], [1, 0, 0, 4], [1, 1, 0, 12]]


def test_the_record_adds_up_the_runs_of_a_recipe(tmp_path: Path) -> None:
    lines = [(50, 10.0, 3.0), (100, 20.0, 2.0), (150, 10.0, 1.0)]  # stopped after 100, then 10 seconds more
    log = [f'{{"step": {step}, "seconds": {seconds}, "loss": {loss}}}' for step, seconds, loss in lines]
    (tmp_path / "base.jsonl").write_text("\n".join(log))
    assert record(tmp_path) == {"base": {"minutes": 0.5, "step": 150, "loss": 1.0}}


def test_an_untrained_router_is_right_about_as_often_as_not(trained: Path) -> None:
    accuracy = router.accuracy(trained, "router", pictures=8, chunk=4)
    assert 0.1 < accuracy.right < 0.9
    assert 0.5 <= accuracy.steady <= 1.0
    assert accuracy.right <= accuracy.steady


def test_without_the_routing_loss_the_router_is_not_prepared_by_it_either(trained: Path) -> None:
    router.train(trained, steps=1, batch=2, weight=0.0, name="unsupervised", prepared=3)
    assert (trained / "unsupervised.pt").exists()
    assert not (trained / "unsupervised-alone.ckpt").exists()
    assert (trained / "router-alone.ckpt").exists()


def test_a_training_run_continues_where_it_was_stopped(tmp_path: Path) -> None:
    def course(module: torch.nn.Module) -> Course:
        return Course(
            team=Team(0, 1), module=module, steps=6, rate=0.1, log=tmp_path / "log.jsonl", save_every=2
        )

    def run(module: torch.nn.Linear, stop_after: int) -> None:
        for step in course(module).run():
            if step.number == stop_after:
                return
            step.loss = module(torch.ones(1, 2)).square().sum()

    torch.manual_seed(0)
    first = torch.nn.Linear(2, 1)
    state = {k: v.clone() for k, v in first.state_dict().items()}
    run(first, stop_after=99)
    whole = first.weight.clone()
    (tmp_path / "log.ckpt").unlink()
    stopped, again = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    stopped.load_state_dict(state)
    run(stopped, stop_after=4)
    run(again, stop_after=99)
    assert torch.allclose(again.weight, whole, atol=1e-6)
