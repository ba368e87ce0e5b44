"""Pictures with people through the host's API."""

from typing import Any

import pytest

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person, picture
from tests.hosts.webui.genuine.pictures import apart


def names(answer: Any) -> list[list[str]]:
    return [[one["name"] for one in found] for found in answer.result]


def test_one_person(webui: Running):
    plain = webui.api.txt2img(prompt="a person at a winter market").images
    answer = webui.api.txt2img(prompt="a person at a winter market", alwayson_scripts=ask(person("Anna")))
    assert len(answer.images) == 1
    assert answer.images != plain
    assert names(answer) == [["Anna"]]


def test_two_people_who_are_not_the_same(webui: Running):
    both = webui.api.txt2img(alwayson_scripts=ask(person("Anna"), person("Ben")))
    others = webui.api.txt2img(alwayson_scripts=ask(person("Anna"), person("Chloe")))
    assert names(both) == [["Anna", "Ben"]]
    assert both.images != others.images


def test_the_same_request_makes_the_same_file(webui: Running):
    asked = ask(person("Anna"), person("Ben"))
    assert (
        webui.api.txt2img(alwayson_scripts=asked).images == webui.api.txt2img(alwayson_scripts=asked).images
    )


def test_a_disabled_request_gives_the_plain_picture(webui: Running):
    off = ask(person("Anna", enabled=False), person("Ben"), enabled=False)
    assert webui.api.txt2img(alwayson_scripts=off).images == webui.api.txt2img().images


def test_the_routing_map_follows_the_picture(webui: Running):
    answer = webui.api.txt2img(alwayson_scripts=ask(person("Anna"), person("Ben"), show_routing=True))
    assert len(answer.images) == 2
    assert answer.images[0] != answer.images[1]


VARIANTS: dict[str, dict[str, Any]] = {
    "two in a batch": {"batch_size": 2},
    "two batches": {"n_iter": 2},
    "guidance of one": {"cfg_scale": 1.0},
    "two prompts": {"prompt": "two friends AND a winter market :0.5"},
    "a long prompt": {"prompt": "two friends, " + "snow, " * 90},
    "a sampler with two evaluations": {"sampler_name": "Heun"},
    "another size": {"width": 192, "height": 128},
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_it_works_with(webui: Running, name: str):
    values = VARIANTS[name]
    plain = webui.api.txt2img(**values)
    answer = webui.api.txt2img(**values, alwayson_scripts=ask(person("Anna"), person("Ben")))
    pictures = values.get("batch_size", 1) * values.get("n_iter", 1)
    assert names(answer) == [["Anna", "Ben"]] * pictures
    assert len(answer.images) == len(plain.images)
    assert not set(answer.images) & set(plain.images)
    assert webui.api.txt2img(**values).images == plain.images


def test_hires(webui: Running):
    values = webui.hires(1.5)
    plain = webui.api.txt2img(**values)
    answer = webui.api.txt2img(**values, alwayson_scripts=ask(person("Anna"), person("Ben")))
    assert names(answer) == [["Anna", "Ben"]]
    assert answer.images != plain.images
    assert webui.api.txt2img(**values).images == plain.images


def test_img2img(webui: Running):
    values: dict[str, Any] = {"init_images": [picture("David")], "denoising_strength": 0.7}
    plain = webui.api.img2img(**values)
    answer = webui.api.img2img(**values, alwayson_scripts=ask(person("Anna")))
    assert names(answer) == [["Anna"]]
    assert answer.images != plain.images
    assert apart(webui.api.img2img(**values).images[0], plain.images[0]) == 0
