"""What the evaluation asks for, and when it counts as kept."""

from lib_uniid.miniature.evaluation import FaceReading, Reading, Words
from lib_uniid.miniature.people import HAIR_COLOURS
from lib_uniid.miniature.scenes import PLACES, STYLES

BLOND = HAIR_COLOURS.index("blond")
FACE = FaceReading(smile=0.8, age=0.9, glasses=0.1, hair=BLOND)


def words() -> Words:
    return Words(
        place=PLACES.index("desert"),
        style=STYLES.index("oil painting"),
        smile=1,
        age=1,
        glasses=0,
        hair=BLOND,
    )


def test_a_prompt_names_the_place_alone_or_every_word() -> None:
    assert Words(place=PLACES.index("desert")).prompt(2) == "two people in the desert"
    said = words().prompt(1)
    assert said == "a person smiling old without glasses with blond hair in the desert, oil painting"


def test_only_words_that_were_asked_for_are_counted() -> None:
    read = Reading(place=PLACES.index("desert"), style=STYLES.index("photo"), face=FACE)
    assert Words(place=PLACES.index("beach")).kept(read) == {"place": False, "style": True}
    assert words().kept(read) == {
        "place": True,
        "style": False,
        "smile": True,
        "age": True,
        "glasses": True,
        "hair": True,
    }


def test_without_a_face_no_word_on_faces_is_kept() -> None:
    kept = words().kept(Reading(place=0, style=0, face=None))
    assert not any(kept[word] for word in ("smile", "age", "glasses", "hair"))
