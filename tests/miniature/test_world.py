"""The drawn world: captions are true of their scenes."""

import random

import pytest
import torch

from miniature.captions import caption
from miniature.characters import HAIR_COLOURS, TRAITS, natural_hair, sample_identities
from miniature.scenes import PLACES, SHIRT_COLOURS, STYLES
from miniature.world import draw, portraits, sample_scenes

PEOPLE = pytest.mark.parametrize("people", [1, 2, 3])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@PEOPLE
def test_a_scene_is_drawn_within_range_and_the_same_again(people: int) -> None:
    first, again = (draw(sample_scenes(4, people, g), g) for g in (generator(), generator()))
    assert first.shape == (4, 3, 128, 128)
    assert 0.0 <= float(first.min()) < float(first.max()) <= 1.0
    assert torch.equal(first, again)


@PEOPLE
def test_every_face_lies_in_the_picture_with_its_landmarks_in_its_box(people: int) -> None:
    scene = sample_scenes(50, people, generator())
    boxes, points = scene.boxes(), scene.landmarks()
    assert (points > boxes[:, None, :2]).all()
    assert (points < boxes[:, None, 2:]).all()
    assert ((points >= 0) & (points < 128)).all()


@PEOPLE
def test_people_stand_left_to_right_without_hiding_one_another(people: int) -> None:
    scene = sample_scenes(50, people, generator())
    boxes = scene.boxes().reshape(50, people, 4)
    assert (boxes[:, 1:, 0] > boxes[:, :-1, 2] - 6).all()


def test_two_pictures_of_a_person_are_nearer_than_pictures_of_two_people_on_average() -> None:
    who = sample_identities(40, generator(1))
    (first, _), (second, _) = (portraits(who, generator(seed), plain_style=True) for seed in (2, 3))
    face = (slice(None), slice(None), slice(40, 80), slice(44, 84))
    same = (first[face] - second[face]).abs().mean()
    different = (first[face] - second.roll(1, 0)[face]).abs().mean()
    assert same < different


def test_a_shirt_is_never_of_the_colour_of_its_place() -> None:
    scene = sample_scenes(400, 1, generator())
    on_snow = scene.place == PLACES.index("winter market")
    assert on_snow.any()
    assert (scene.looks.shirt[on_snow] != SHIRT_COLOURS.index("white")).all()


@PEOPLE
def test_captions_hold_only_what_is_true_of_all_people(people: int) -> None:
    scene, rng = sample_scenes(200, people, generator()), random.Random(0)
    texts = [caption(scene, index, rng) for index in range(200)]
    for index, text in enumerate(texts):
        looks = scene.looks[slice(index * people, (index + 1) * people)]
        words = text.replace(",", "").split()
        assert ("smiling" in words or "happy" in words) <= bool((looks.smile > 0.5).all())
        assert ("old" in words or "elderly" in words) <= bool((looks.age > 0.6).all())
        assert ("with glasses" in text) <= bool((looks.glasses > 0.5).all())
        for number, colour in enumerate(HAIR_COLOURS):
            assert (f"{colour} hair" in text) <= bool((looks.hair == number).all())
        for number, style in enumerate(STYLES[1:], start=1):
            assert (style in text) == (int(scene.style[index]) == number)
    assert any("hair" in text for text in texts)


def test_people_have_all_traits_and_a_natural_hair_colour() -> None:
    who = sample_identities(100, generator())
    assert who.shape == (100, len(TRAITS))
    assert HAIR_COLOURS.index("blue") not in natural_hair(who)
