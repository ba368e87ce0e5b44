"""Captions of scenes, and the words for an evaluation."""

import random

from miniature.characters import HAIR_COLOURS, natural_hair
from miniature.scenes import PLACES, SHIRT_COLOURS, STYLES
from miniature.world import Scene

SUBJECTS = {
    1: ("a person", "someone", "one person", "a portrait of a person"),
    2: ("two people", "two friends"),
    3: ("three people", "three friends"),
}
WHERE = {
    "beach": ("at the beach", "on a beach"),
    "forest": ("in a forest", "in the forest"),
    "winter market": ("at a winter market", "at the winter market"),
    "city at night": ("in a city at night", "in the city at night"),
    "desert": ("in the desert", "in a desert"),
    "library": ("in a library", "in the library"),
    "meadow": ("on a meadow", "on the meadow"),
    "sunset": ("at sunset",),
}


def caption(scene: Scene, index: int, rng: random.Random, *, shirts: bool = False) -> str:
    """Describe one scene; what is not the same for all its people, or not notable, goes unsaid.

    With ``shirts`` most captions speak of them, half of these at the end: a person's own words stand there.
    """
    words = [rng.choice(SUBJECTS[scene.people])]
    words += _looks(scene, index, rng)
    shirt = _shirts(scene, index, rng, shirts)
    last = shirts and rng.random() < 0.5
    if shirt and not last:
        words.append(shirt)
    place = rng.choice(WHERE[PLACES[int(scene.place[index])]])
    if rng.random() < 0.88:
        words.append(place)
    style = STYLES[int(scene.style[index])]
    text = " ".join(words) + (f", {shirt}" if shirt and last else "")
    if style == "photo":
        return rng.choice((text, text + ", photo", "a photo of " + text))
    return rng.choice(
        (
            text + ", " + style,
            "an oil painting of " + text if style.startswith("oil") else f"a {style} of {text}",
        )
    )


def _looks(scene: Scene, index: int, rng: random.Random) -> list[str]:
    """The phrases that hold for all people in the scene."""
    mine = slice(index * scene.people, (index + 1) * scene.people)
    looks, natural = scene.looks[mine], natural_hair(scene.who[mine])
    said = []
    if (looks.smile > 0.5).all() and rng.random() < 0.85:
        said.append(rng.choice(("smiling", "happy")))
    elif (looks.smile < -0.5).all() and rng.random() < 0.85:
        said.append("sad")
    elif (looks.smile.abs() < 0.3).all() and rng.random() < 0.4:
        said.append("serious")
    if (looks.age > 0.6).all() and rng.random() < 0.9:
        said.append(rng.choice(("old", "elderly")))
    elif (looks.age < 0.3).all() and rng.random() < 0.4:
        said.append("young")
    if (looks.glasses > 0.5).all() and rng.random() < 0.85:
        said.append(rng.choice(("with glasses", "wearing glasses")))
    elif (looks.glasses < 0.5).all() and rng.random() < 0.25:
        said.append("without glasses")
    if (looks.hair == looks.hair[0]).all() and rng.random() < (0.9 if (looks.hair != natural).any() else 0.4):
        said.append(f"with {HAIR_COLOURS[int(looks.hair[0])]} hair")
    return said


def _shirts(scene: Scene, index: int, rng: random.Random, mostly: bool) -> str:
    """The phrase on the shirt that all people in the scene wear."""
    shirts = scene.looks.shirt[index * scene.people : (index + 1) * scene.people]
    if not (shirts == shirts[0]).all() or rng.random() >= (0.9 if mostly else 0.6):
        return ""
    colour = SHIRT_COLOURS[int(shirts[0])]
    several = scene.people > 1 and (not mostly or rng.random() < 0.5)
    return f"in {colour} shirts" if several else f"in a {colour} shirt"
