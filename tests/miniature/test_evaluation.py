"""The prompts of the evaluation, and when a word counts as kept."""

import numpy as np
import torch

from lib_uniid.faces.detection import Face
from miniature.characters import HAIR_COLOURS, sample_identities
from miniature.evaluation.measures import turn_of
from miniature.evaluation.reader import shirt_below
from miniature.evaluation.words import FaceReading, Reading, Words
from miniature.scenes import PLACES, SHIRT_COLOURS, STYLES
from miniature.world import portraits

BLOND = HAIR_COLOURS.index("blond")
RED, BLUE = SHIRT_COLOURS.index("red"), SHIRT_COLOURS.index("blue")
FACE = FaceReading(smile=0.8, age=0.9, glasses=0.1, hair=BLOND)


def words() -> Words:
    return Words(
        place=PLACES.index("desert"),
        style=STYLES.index("oil painting"),
        smile=1,
        age=1,
        glasses=0,
        hair=BLOND,
        shirt=BLUE,
    )


def test_a_prompt_names_the_place_alone_or_every_word() -> None:
    assert Words(place=PLACES.index("desert")).prompt(2) == "two people in the desert"
    said = words().prompt(1)
    assert (
        said
        == "a person smiling old without glasses with blond hair in a blue shirt in the desert, oil painting"
    )


def test_only_words_of_the_prompt_are_counted() -> None:
    read = Reading(place=PLACES.index("desert"), style=STYLES.index("photo"), face=FACE, shirt=RED)
    assert Words(place=PLACES.index("beach")).kept(read) == {"place": False, "style": True}
    assert words().kept(read) == {
        "place": True,
        "style": False,
        "smile": True,
        "age": True,
        "glasses": True,
        "hair": True,
        "shirt": False,
    }


def test_without_a_face_no_word_on_faces_is_kept() -> None:
    kept = words().kept(Reading(place=0, style=0, face=None))
    assert not any(kept[word] for word in ("smile", "age", "glasses", "hair"))


def test_the_shirt_is_read_off_the_pixels_below_the_head() -> None:
    """On drawings it is the drawn one."""
    generator = torch.Generator().manual_seed(3)
    drawn, scene = portraits(sample_identities(24, generator), generator, plain_style=True)
    for pixels, box, shirt in zip(drawn, scene.boxes().tolist(), scene.looks.shirt, strict=True):
        face = Face(number=0, box=tuple(box), score=1.0, landmarks=np.zeros((5, 2), np.float32))
        assert shirt_below((pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), face) == shirt


def test_the_turn_of_a_head_follows_the_drawn_one() -> None:
    generator = torch.Generator().manual_seed(5)
    _, scene = portraits(sample_identities(40, generator), generator, plain_style=True)
    turns = [
        turn_of(Face(number=0, box=(0.0, 0.0, 1.0, 1.0), score=1.0, landmarks=points.numpy()))
        for points in scene.landmarks()
    ]
    assert np.corrcoef(turns, scene.looks.yaw.numpy())[0, 1] > 0.9
