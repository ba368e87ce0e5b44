"""Settings are valid once they exist, and their errors name the allowed values."""

import math

import jaxtyping
import numpy as np
import pytest

from lib_uniid.config import MAX_PEOPLE, GenerationSettings, PersonSettings, StyleSettings
from lib_uniid.errors import ConfigError

HALF = np.ones((4, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("prompt", "  ", "prompt"),
        ("width", 100, "width"),
        ("height", 4096, "height"),
        ("steps", 0, "steps"),
        ("cfg_scale", 0.5, "CFG scale"),
        ("cfg_scale", math.nan, "CFG scale"),
        ("seed", -1, "seed"),
        ("pictures", 17, "pictures"),
        ("sampler", "fast", "sampler"),
        ("identity_scale", 3.0, "identity scale"),
        ("strength", 0.0, "strength"),
        ("retries", 21, "retries"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(field: str, value: object, named: str):
    with pytest.raises(ConfigError, match=named) as refused:
        GenerationSettings(**({"prompt": "a cat"} | {field: value}))  # pyright: ignore[reportArgumentType]
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("name", "", "name"),
        ("weight", 2.5, "weight"),
        ("structure_scale", -0.1, "structure scale"),
        ("start", 1.0, "start"),
        ("end", 1.1, "end"),
        ("mix", (("Ben", 0.7), ("Eve", 0.4)), "exceed 1"),
        ("mix", (("Ben", -0.1),), "share of Ben"),
        ("mask", np.zeros((4, 4), dtype=np.float32), "mask is empty"),
        ("mask", np.full((4, 4), 2.0, dtype=np.float32), "mask must"),
    ],
)
def test_a_person_setting_out_of_range_is_named(field: str, value: object, named: str):
    with pytest.raises(ConfigError, match=named) as refused:
        PersonSettings(**({"name": "Anna"} | {field: value}))  # pyright: ignore[reportArgumentType]
    assert refused.value.field == field


PICTURE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("strength", 0.0, r"style strength must lie in \[0.01, 2\], got 0"),
        ("strength", 2.1, "style strength"),
        ("strength", math.nan, "style strength"),
        ("picture", PICTURE[..., 0], r"style picture must be RGB in 8 bits.*; got 2 x 4 of uint8"),
        ("picture", PICTURE[..., :2], "got 2 x 4 x 2 of uint8"),
        ("picture", PICTURE[:0], "got 0 x 4 x 3 of uint8"),
        ("picture", PICTURE / 255, "got 2 x 4 x 3 of float64"),
    ],
)
def test_a_style_setting_out_of_range_is_named(
    field: str, value: object, named: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as in a WebUI
    with pytest.raises(ConfigError, match=named) as refused:
        StyleSettings(**({"picture": PICTURE} | {field: value}))  # pyright: ignore[reportArgumentType]
    assert refused.value.field == field


def test_a_style_needs_no_prompt_and_goes_with_ddim_alone():
    style = StyleSettings(picture=PICTURE)
    assert GenerationSettings(prompt="", style=style).sampler == "ddim"
    assert GenerationSettings(prompt="", style=style, sampler="DDIMScheduler")
    with pytest.raises(ConfigError, match="sampler must be ddim with a style picture, got 'euler'"):
        GenerationSettings(prompt="a cat", style=style, sampler="euler")


def test_a_style_is_identified_by_its_content():
    style, same = StyleSettings(picture=PICTURE), StyleSettings(picture=PICTURE.copy(), strength=1.0)
    assert style.sha256 == same.sha256 == StyleSettings(picture=PICTURE[:, ::-1][:, ::-1]).sha256
    others = [PICTURE[::-1], PICTURE.reshape(4, 2, 3)]
    assert len({style.sha256, *(StyleSettings(picture=other).sha256 for other in others)}) == 3


def people(count: int) -> tuple[PersonSettings, ...]:
    return tuple(PersonSettings(name=f"person {number}") for number in range(count))


def test_zero_to_eight_people_are_allowed_and_nine_are_not():
    assert GenerationSettings(prompt="a cat").people == ()
    assert len(GenerationSettings(prompt="a cat", people=people(MAX_PEOPLE)).people) == 8
    with pytest.raises(ConfigError, match=r"at most 8 people .* got 9"):
        GenerationSettings(prompt="a cat", people=people(9))


def test_a_person_is_named_once_per_picture():
    with pytest.raises(ConfigError, match="'Anna' is named twice"):
        GenerationSettings(prompt="a cat", people=(PersonSettings(name="Anna"), PersonSettings(name="Anna")))


def test_an_unknown_routing_is_named_where_types_are_not_checked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as in a WebUI
    with pytest.raises(ConfigError, match="routing must be one of auto, mask, off, got 'magic'"):
        GenerationSettings(prompt="a cat", routing="magic")  # pyright: ignore[reportArgumentType]


def test_routing_by_mask_names_who_has_none():
    drawn = PersonSettings(name="Anna", mask=HALF)
    assert GenerationSettings(prompt="a cat", people=(drawn,), routing="mask")
    with pytest.raises(ConfigError, match="Ben has none"):
        GenerationSettings(prompt="a cat", people=(drawn, PersonSettings(name="Ben")), routing="mask")


def test_a_mask_that_covers_everything_is_named():
    everywhere = PersonSettings(name="Anna", mask=np.ones((4, 4), dtype=np.float32))
    assert everywhere.notes == ("Anna: the mask covers the whole picture; it limits nothing",)
    assert PersonSettings(name="Anna", mask=np.eye(2, dtype=np.float32)).notes == ()
