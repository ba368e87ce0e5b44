"""The style of a picture in a genuine host: taken, in every size that is sampled, and gone afterwards."""

from typing import Any

import pytest

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person, picture
from tests.hosts.webui.genuine.pictures import apart, same

MOVED = {"a1111": 12, "forge": 0, "neo": 0}
"""Grey levels by which a style changes a picture at least; equal requests make equal pixels.

The miniature takes a style. Forge's random weights make little of one: 3 to 11 were seen.
"""


def styled(number: int = 2, **values: Any) -> dict[str, Any]:
    """``alwayson_scripts`` for Anna in the style of one of David's pictures."""
    return ask(person("Anna"), style={"picture": picture("David", number), **values})


@pytest.mark.parametrize("hires", [False, True], ids=["one pass", "hires"])
def test_the_style_of_a_picture(webui: Running, hires: bool):
    values = webui.hires(1.5) if hires else {}
    plain, before = webui.api.txt2img(**values), webui.api.get("/uniid-probe/model").body
    people = webui.api.txt2img(**values, alwayson_scripts=ask(person("Anna")))
    first = webui.api.txt2img(**values, alwayson_scripts=styled())
    for other in (plain, people):
        assert apart(first.images[0], other.images[0]) > MOVED[webui.kind]
    assert '\\"style\\":{\\"picture\\":\\"sha256:' in first.infotext
    assert same(webui.api.txt2img(**values, alwayson_scripts=styled()), first)
    assert not same(webui.api.txt2img(**values, alwayson_scripts=styled(strength=2)), first)
    assert same(webui.api.txt2img(**values, alwayson_scripts=ask(person("Anna"))), people)
    assert webui.api.txt2img(**values).images == plain.images
    assert webui.api.get("/uniid-probe/model").body == before


def test_the_style_of_a_picture_through_another_sampler_and_two_prompts(webui: Running):
    values: dict[str, Any] = {
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "prompt": "a park AND a market",
    }
    values["batch_size"] = 2
    people = webui.api.txt2img(**values, alwayson_scripts=ask(person("Anna")))
    first = webui.api.txt2img(**values, alwayson_scripts=styled())
    for one, other in zip(first.images, people.images, strict=True):
        assert apart(one, other) > MOVED[webui.kind]
    assert same(webui.api.txt2img(**values, alwayson_scripts=styled()), first)
