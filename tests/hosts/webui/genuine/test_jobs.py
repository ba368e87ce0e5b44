"""The hosts' own scripts that make several pictures report on each, and wrong arguments are refused."""

import json
from typing import Any

import pytest

from tests.hosts.webui.genuine.api import Answer
from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person, picture

KEPT = {
    "loops": 2,
    "tile overlap": 0,
    "draw legend": False,
    "include sub images": True,
}
"""Values of the scripts' arguments by their labels in small letters; all others stay at rest."""


def run(webui: Running, name: str, numbers: dict[int, Any] | None = None, **values: Any) -> Answer:
    """A script of the host's; ``numbers`` are values of arguments by their place."""
    known = webui.api.get("/sdapi/v1/script-info").body
    img2img = "init_images" in values
    script = next(one for one in known if one["name"] == name and one["is_img2img"] == img2img)
    arguments = [KEPT.get(one["label"].lower(), one["value"]) for one in script["args"]]
    for place, value in (numbers or {}).items():
        arguments[place] = value
    make = webui.api.img2img if img2img else webui.api.txt2img
    return make(script_name=name, script_args=arguments, **values)


def names(answer: Answer) -> list[list[str]]:
    return [[one["name"] for one in people] for people in answer.result]


BOTH = ask(person("Anna"), person("Ben"))
START: dict[str, Any] = {"init_images": [picture("Anna")], "denoising_strength": 0.9}


def test_a_plot_reports_every_cell(webui: Running):
    seed = webui.api.get("/uniid-probe/axes").body.index("Seed")
    axes = dict(enumerate([seed, "1, 2, 3", [], 0, "", [], 0, "", []]))
    answer = run(webui, "x/y/z plot", axes, alwayson_scripts=BOTH)
    assert names(answer) == [["Anna", "Ben"]] * 3
    assert "similarity" not in "".join(answer.info["infotexts"])


def test_a_loop_reports_every_picture(webui: Running):
    answer = run(webui, "loopback", {0: 2}, **START, alwayson_scripts=BOTH)
    assert names(answer) == [["Anna", "Ben"]] * 2
    assert "similarity" not in "".join(answer.info["infotexts"])


def test_tiles_are_reported(webui: Running):
    # Without an upscaler the tiles are those of the picture itself.
    answer = run(webui, "sd upscale", **START, width=64, height=64, alwayson_scripts=BOTH)
    assert len(answer.result) >= 4
    assert set(map(tuple, names(answer))) == {("Anna", "Ben")}


def test_a_prompt_matrix_reports_every_picture(webui: Running):
    answer = run(webui, "prompt matrix", prompt="two friends|snow|night", alwayson_scripts=BOTH)
    assert names(answer) == [["Anna", "Ben"]] * 4


@pytest.mark.parametrize("given", [{}, [], {"args": []}, {"args": {}}])
def test_a_request_without_people_gets_a_note(webui: Running, given: Any):
    answer = webui.api.txt2img(alwayson_scripts={"UniID": given})
    assert answer.images == webui.api.txt2img().images
    (note,) = json.loads(answer.info["extra_generation_params"]["UniID notes"])
    assert note.startswith("the request has UniID without people")


@pytest.mark.parametrize(
    "given", [{"args": ["Anna"]}, {"Args": BOTH["UniID"]["args"]}, {"arg": []}, BOTH["UniID"]["args"]]
)
def test_what_is_no_request_fails(webui: Running, given: Any):
    assert webui.api.txt2img(alwayson_scripts={"UniID": given}).status >= 400


def test_json_text_is_a_request(webui: Running):
    text = json.dumps(BOTH["UniID"]["args"][0])
    answer = webui.api.txt2img(alwayson_scripts={"UniID": {"args": [text]}})
    assert answer.images == webui.api.txt2img(alwayson_scripts=BOTH).images
