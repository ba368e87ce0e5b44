"""From pictures of people to checked pictures with them, on narrow networks with random weights."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_uniid.attention.plan import Plan
from lib_uniid.config import GenerationSettings, PersonSettings, StyleSettings
from lib_uniid.errors import (
    ConfigError,
    EncoderMismatchError,
    MissingModelError,
    NoFaceError,
    SeveralFacesError,
)
from lib_uniid.faces.detection import Face
from lib_uniid.files import sha256
from lib_uniid.host import Host
from lib_uniid.hosts.diffusers.host import DiffusersHost
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Identity
from lib_uniid.pipeline import GeneratedPicture, Reference, Studio
from tests.device import DEVICE
from tests.red_faces import red_face_picture

ONE = red_face_picture((64, 64))
TWO = red_face_picture((64, 64), (190, 60))
PLAIN = GenerationSettings(prompt="two people in a park", steps=2, cfg_scale=3.0)
ANNA, BEN = PersonSettings(name="Anna"), PersonSettings(name="Ben")
PAINTING = StyleSettings(picture=np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8))
ENCODER = "CurricularFace"
LEFT = np.repeat(np.array([[1.0, 0.0]], dtype=np.float32), 2, axis=0)


@pytest.fixture(scope="module")
def studio(models: Path) -> Studio:
    return open_studio(models, device=DEVICE)


@pytest.fixture(scope="module")
def people(studio: Studio) -> dict[str, Identity]:
    other = ONE.copy()
    other[50:96, 32:80] = (255, 30, 0)
    enrolled: dict[str, Identity] = {}
    for name, picture in (("Anna", ONE), ("Ben", other)):
        enrolled[name], _ = studio.enrol(name, [Reference(picture=picture, label=name, largest=True)])
    return enrolled


@pytest.fixture
def look(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Sequence[np.ndarray]]], None]:
    """Says which embeddings are found in the pictures to come, one after another."""

    def script(pictures: Sequence[Sequence[np.ndarray]]) -> None:
        left = iter(pictures)
        monkeypatch.setattr(studio.finder, "find", lambda _: tuple(map(face, next(left))))

    def face(embedding: np.ndarray) -> Face:
        box, landmarks = (0.0, 0.0, 9.0, 9.0), np.zeros((5, 2), dtype=np.float32)
        return Face(number=1, box=box, landmarks=landmarks, score=1.0, embedding=embedding)

    return script


def together(*people: PersonSettings, **changes: object) -> GenerationSettings:
    return replace(PLAIN, people=people, **changes)  # pyright: ignore[reportArgumentType]


def latents(made: Sequence[GeneratedPicture]) -> np.ndarray:
    return np.stack([one.picture for one in made])


def sampled(studio: Studio) -> np.ndarray:
    return studio.host.sample(PLAIN, [5]).cpu().numpy()


# --- enrolling ---


def test_references_of_one_person_follow_one_another_as_tokens(studio: Studio):
    references = [Reference(picture=ONE, label="a"), Reference(picture=TWO, label="b", number=2)]
    person, seen = studio.enrol("Anna", references)
    single, _ = studio.enrol("Anna", references[:1])
    assert person.references == 2
    assert len(person.features[ENCODER]["intrinsic"]) == 2 * len(single.features[ENCODER]["intrinsic"])
    assert [one.face.number for one in seen] == [1, 2]
    assert np.linalg.norm(person.embedding) == pytest.approx(1.0, abs=1e-5)


def test_an_enrolled_person_records_the_file_of_the_recogniser(studio: Studio):
    person, _ = studio.enrol("Anna", [Reference(picture=ONE, label="a")])
    (file,) = studio.models.folder.find("insightface").glob("w600k*.onnx")
    assert person.recogniser == sha256(file)[:12]


def test_the_picture_without_a_face_and_the_one_with_several_are_named(studio: Studio):
    grey = np.full((128, 128, 3), 128, dtype=np.uint8)
    with pytest.raises(NoFaceError, match=r"^empty\.png: no face"):
        studio.enrol("Anna", [Reference(picture=ONE, label="ok"), Reference(picture=grey, label="empty.png")])
    with pytest.raises(SeveralFacesError, match=r"^group\.png: 2 faces"):
        studio.enrol("Anna", [Reference(picture=TWO, label="group.png")])


def test_an_invalid_name_is_refused_before_the_pictures_are_read(studio: Studio):
    with pytest.raises(ConfigError, match="equals sign"):
        studio.enrol("Anna=2024", [])
    person, _ = studio.enrol(" Zoe\u0308 ", [Reference(picture=ONE, label="a")])
    assert person.name == "Zo\u00eb"


def test_a_person_without_pictures_is_refused(studio: Studio):
    with pytest.raises(ConfigError, match="Anna has no reference pictures"):
        studio.enrol("Anna", [])


# --- nothing when off ---


def test_without_people_a_picture_is_bit_identical_before_and_after_people_were_in_one(
    studio: Studio, people: dict[str, Identity]
):
    untouched = open_studio(studio.models.folder.root, device=DEVICE).host
    before = untouched.sample(PLAIN, [5])
    weights = {name: tensor.clone() for name, tensor in studio.host.unet.state_dict().items()}
    plain = latents(studio.generate(replace(PLAIN, seed=5), {}))
    with_people = latents(studio.generate(together(ANNA, BEN, seed=5), people))
    assert not np.array_equal(plain, with_people)
    assert torch.equal(studio.host.sample(PLAIN, [5]), before)
    assert np.array_equal(latents(studio.generate(replace(PLAIN, seed=5), {})), plain)
    for name, tensor in studio.host.unet.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_cancelling_in_the_middle_leaves_no_trace(studio: Studio, people: dict[str, Identity]):
    before = studio.host.sample(PLAIN, [5])

    def cancel(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studio.generate(together(ANNA, BEN), people, progress=cancel)
    assert torch.equal(studio.host.sample(PLAIN, [5]), before)


def test_plain_pictures_need_no_faces_and_no_adapter(models: Path):
    said: list[str] = []
    open_studio(models, device=DEVICE, notify=said.append).generate(PLAIN, {})
    assert said == ["loading the base model"]


# --- people ---


def test_every_person_setting_changes_the_picture(studio: Studio, people: dict[str, Identity]):
    variants = [
        together(ANNA),
        together(BEN),
        together(ANNA, identity_scale=0.2),
        together(replace(ANNA, weight=0.3)),
        together(replace(ANNA, structure_scale=1.5)),
        together(replace(ANNA, mix=(("Ben", 0.5),))),
        together(replace(ANNA, mask=LEFT)),
        together(replace(ANNA, start=0.5)),
        together(replace(ANNA, end=0.5)),
        together(ANNA, BEN),
        together(ANNA, BEN, routing="off"),
        together(replace(ANNA, mask=LEFT), replace(BEN, mask=1 - LEFT), routing="mask"),
    ]
    made = [latents(studio.generate(variant, people)).tobytes() for variant in variants]
    assert len(set(made)) == len(variants)


def test_a_whole_share_of_another_person_is_that_person(studio: Studio, people: dict[str, Identity]):
    mixed = studio.generate(together(replace(ANNA, mix=(("Ben", 1.0),))), people)
    ben = studio.generate(together(BEN), people)
    assert np.abs(latents(mixed).astype(int) - latents(ben)).max() <= 1


def test_routing_maps_give_each_place_away_once_and_masks_are_kept(
    studio: Studio, people: dict[str, Identity]
):
    (routed,) = studio.generate(together(ANNA, BEN), people)
    assert routed.routing is not None
    assert routed.routing.shape == (2, 16, 16)
    assert routed.routing.sum(axis=0) == pytest.approx(1.0, abs=1e-5)
    drawn = together(replace(ANNA, mask=LEFT), replace(BEN, mask=1 - LEFT), routing="mask")
    (masked,) = studio.generate(drawn, people)
    assert masked.routing is not None
    assert masked.routing[0, :, :4] == pytest.approx(1.0, abs=0.05)
    assert masked.routing[0, :, 12:] == pytest.approx(0.0, abs=0.05)


def test_one_person_has_no_routing_map(studio: Studio, people: dict[str, Identity]):
    (made,) = studio.generate(together(ANNA), people)
    assert made.routing is None


def test_a_person_who_was_not_given_is_refused(studio: Studio, people: dict[str, Identity]):
    with pytest.raises(ConfigError, match="'Eve' is in the settings"):
        studio.generate(together(replace(ANNA, mix=(("Eve", 0.2),))), people)


def test_people_of_different_encoders_are_refused(studio: Studio, people: dict[str, Identity]):
    changed = replace(people["Ben"].features[ENCODER], fingerprint="other")
    other = replace(people["Ben"], features={ENCODER: changed})
    with pytest.raises(EncoderMismatchError, match=r"^Ben: .* enrol the person again"):
        studio.generate(together(ANNA, BEN), people | {"Ben": other})


def test_a_person_of_missing_encoders_is_named(studio: Studio, people: dict[str, Identity]):
    changed = replace(people["Ben"].features[ENCODER], fingerprint="other")
    other = replace(people["Ben"], features={ENCODER: changed})
    with pytest.raises(EncoderMismatchError, match=r"^Ben: .* enrol the person again"):
        studio.generate(together(BEN), {"Ben": other})


def test_enrolled_people_need_no_encoders(models: Path, studio: Studio, people: dict[str, Identity]):
    studio.generate(together(ANNA), people)
    said: list[str] = []
    open_studio(models, device=DEVICE, notify=said.append).generate(together(ANNA), people)
    assert "loading the face encoders" not in said


def test_face_models_that_are_missing_are_named_before_the_sampling(
    models: Path, tmp_path: Path, studio: Studio, people: dict[str, Identity]
):
    studio.generate(together(ANNA), people)  # what is kept of encoders is there
    without = tmp_path / "models"
    shutil.copytree(models, without)
    for path in without.rglob("*.onnx"):
        path.unlink()
    said: list[str] = []
    with pytest.raises(MissingModelError, match="insightface"):
        open_studio(without, device=DEVICE, notify=said.append).generate(together(ANNA), people)
    assert said == ["loading the face detector"]


def test_a_start_picture_of_any_size_is_fitted(studio: Studio, people: dict[str, Identity]):
    settings = together(ANNA, width=64, height=128, strength=0.5, steps=4)
    (made,) = studio.generate(settings, people, start=np.full((300, 500, 3), 90, dtype=np.uint8))
    assert made.picture.shape == (128, 64, 3)


# --- the style of a picture ---


def test_a_style_changes_the_picture_the_more_the_stronger_it_is(studio: Studio, people: dict[str, Identity]):
    plain = latents(studio.generate(together(ANNA), people)).astype(int)
    distances: list[float] = []
    for strength in (0.01, 0.3, 2.0):
        style = replace(PAINTING, strength=strength)
        styled = latents(studio.generate(together(ANNA, style=style), people))
        assert styled.shape == plain.shape
        distances.append(float(np.abs(styled - plain).mean()))
    assert distances == sorted(distances)
    assert distances[2] > 3 * distances[0] > 0


def test_a_style_does_without_words_and_without_people(studio: Studio):
    wordless = latents(studio.generate(replace(PLAIN, prompt="", style=PAINTING, pictures=2), {}))
    assert len(wordless) == 2
    prompted = latents(studio.generate(replace(PLAIN, style=PAINTING, pictures=2), {}))
    assert not np.array_equal(wordless, prompted)


def test_after_a_style_everything_is_bit_identical_to_before(studio: Studio, people: dict[str, Identity]):
    def cancel(step: int, steps: int) -> None:
        cancelled.append(step)
        if len(cancelled) == PLAIN.steps + 1:  # the inversion is done, sampling has begun
            raise KeyboardInterrupt

    cancelled: list[int] = []
    styled = together(ANNA, BEN, seed=5, style=PAINTING)
    before = [latents(studio.generate(replace(styled, style=None), people)), sampled(studio)]
    first = latents(studio.generate(styled, people))
    with pytest.raises(KeyboardInterrupt):
        studio.generate(styled, people, progress=cancel)
    after = [latents(studio.generate(replace(styled, style=None), people)), sampled(studio)]
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert np.array_equal(latents(studio.generate(styled, people)), first)
    assert not np.array_equal(first, before[0])


def test_identities_are_not_injected_into_the_style_picture(studio: Studio, people: dict[str, Identity]):
    """Its two rows are the same whoever is in the pictures; the LoRA, which is for all rows, is too."""
    seen: list[torch.Tensor] = []
    hook = studio.host.unet.register_forward_hook(lambda *call: seen.append(call[2][0]))
    for who in (ANNA, replace(BEN, weight=2.0)):
        studio.generate(together(who, style=PAINTING), people)
    hook.remove()
    steps = PLAIN.steps  # each time as many of the inversion, then as many of the picture
    for anna, ben in zip(seen[steps : 2 * steps], seen[3 * steps :], strict=True):
        same = [torch.allclose(anna[row], ben[row], atol=1e-6) for row in (0, 2, 3)]
        assert same == [True, True, False]


def test_a_style_is_inverted_once_and_without_identities(
    studio: Studio, people: dict[str, Identity], look: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    inverted: list[torch.Tensor] = []
    original = DiffusersHost.invert

    def watching(host: DiffusersHost, *arguments: Any, **options: Any) -> torch.Tensor:
        inverted.append(original(host, *arguments, **options))
        return inverted[-1]

    monkeypatch.setattr(DiffusersHost, "invert", watching)
    look([[], [], []])
    studio.generate(together(ANNA, retries=2, style=PAINTING), people)
    assert len(inverted) == 1
    studio.generate(replace(PLAIN, style=PAINTING), {})
    assert torch.equal(*inverted)


def test_without_a_style_nothing_is_inverted_and_nothing_shared(
    studio: Studio, people: dict[str, Identity], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(DiffusersHost, "invert", lambda *_, **__: pytest.fail("inverted"))
    rows: list[int] = []
    hook = studio.host.unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    studio.generate(together(ANNA), people)
    hook.remove()
    assert rows == [2] * PLAIN.steps


# --- the check after the picture ---


def test_retries_stop_when_all_people_are_found(
    studio: Studio, people: dict[str, Identity], look: Callable[..., None]
):
    anna = people["Anna"].embedding
    look([[], [anna]])
    (made,) = studio.generate(together(ANNA, seed=10, retries=5), people)
    assert (made.seed, made.presence.complete) == (11, True)


def test_the_best_try_is_kept_when_people_are_missing_in_all_tries(
    studio: Studio, people: dict[str, Identity], look: Callable[..., None]
):
    anna = people["Anna"].embedding
    look([[], [anna, anna], []])
    (made,) = studio.generate(together(ANNA, seed=10, retries=2), people)
    assert made.seed == 11
    assert made.presence.doubled == ("Anna",)


def test_only_the_poor_pictures_of_a_batch_are_tried_again_and_their_seeds_make_them_again(
    studio: Studio, people: dict[str, Identity], look: Callable[..., None]
):
    anna = people["Anna"].embedding
    look([[anna], [], [anna], [anna]])
    first, second = studio.generate(together(ANNA, seed=10, pictures=2, retries=3), people)
    assert (first.seed, second.seed) == (10, 13)
    (again,) = studio.generate(together(ANNA, seed=13), people)
    assert np.abs(again.picture.astype(int) - second.picture).max() <= 1


def test_the_stand_alone_host_fits_the_protocol(studio: Studio):
    assert isinstance(studio.host, Host)


# --- notes ---


class Inserted:
    """A change of the text that makes no change, and takes three tokens of the prompt."""

    tokens = 3

    def state(self, progress: float) -> None:
        return None

    def prepare(self, state: object, text: torch.Tensor, rows: object) -> Any:
        return pytest.fail("prepared")


@pytest.mark.parametrize("words", [73, 74, 76])
def test_the_notes_of_a_plan_and_the_words_without_room_reach_the_caller(
    studio: Studio, people: dict[str, Identity], monkeypatch: pytest.MonkeyPatch, words: int
):
    plan = Plan(branches={}, context=(Inserted(),), notes=("something is amiss",))
    monkeypatch.setattr(Studio, "plan", lambda *_: plan)
    told: list[str] = []
    prompt = " ".join(["cat"] * 73 + ["dog", "bird", "fox"][: words - 73])
    studio.generate(replace(together(ANNA), prompt=prompt, steps=1), people, on_note=told.append)
    lost = {73: "", 74: "dog", 76: "dog bird"}[words]  # what no prompt has room for is said elsewhere
    said = "the prompt has no room for these words beside 3 tokens of identities, so they are ignored: "
    assert told == ["something is amiss", *([f"{said}{lost}"] if lost else [])]
