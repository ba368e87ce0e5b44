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


def caption(scene: Scene, index: int, rng: random.Random) -> str:
    """Describe one scene; what is not the same for all its people, or not notable, goes unsaid."""
    words = [rng.choice(SUBJECTS[scene.people])]
    words += _looks(scene, index, rng)
    place = rng.choice(WHERE[PLACES[int(scene.place[index])]])
    if rng.random() < 0.88:
        words.append(place)
    style = STYLES[int(scene.style[index])]
    text = " ".join(words)
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
    if (looks.shirt == looks.shirt[0]).all() and rng.random() < 0.6:
        shirt = SHIRT_COLOURS[int(looks.shirt[0])]
        said.append(f"in a {shirt} shirt" if scene.people == 1 else f"in {shirt} shirts")
    return said
