"""Any arguments: a request, a refusal in a sentence, or a note; never a plain picture without a note."""

import json
from typing import Any

import pytest
import torch

from tests.hosts.webui.asking import ask, person
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import latents

ANNA = ask(person("Anna"))["UniID"]["args"][0]

NOTED: dict[str, Any] = {
    "an object without args": {},
    "a list without anything": [],
    "no arguments": {"args": []},
    "arguments that are an empty object": {"args": {}},
    "arguments at rest": {"args": ["", False]},
}
REFUSED: dict[str, tuple[Any, str]] = {
    "a name": ({"args": ["Anna"]}, "the request must be JSON"),
    "text that is no request": ({"args": ['{"people": []}']}, "version is missing"),
    "the key Args": ({"Args": [ANNA]}, "must have the key args and no other, got the keys 'Args'"),
    "the key arg": ({"arg": [ANNA]}, "must have the key args and no other, got the keys 'arg'"),
    "a list of requests": ([ANNA], "must have the key args and no other, got no object"),
    "no request": ({"args": [None]}, "the request must be an object, got null"),
    "arguments that are the request": ({"args": ANNA}, "KeyError"),
    "nothing": (None, "TypeError"),
}


@pytest.mark.parametrize("name", ["UniID", "uniid"])
@pytest.mark.parametrize("kind", NOTED)
def test_a_request_without_people_gets_a_note(webui: WebUI, kind: str, name: str):
    answer = webui.txt2img(alwayson_scripts={name: NOTED[kind]})
    assert torch.equal(latents(answer), latents(webui.txt2img()))
    (note,) = json.loads(answer.result["UniID notes"])
    assert note.startswith("the request has UniID without people")
    assert "UniID" not in answer.infotexts[0]
    assert webui.raised == []


@pytest.mark.parametrize("kind", REFUSED)
def test_a_request_that_the_host_or_we_cannot_read_fails(webui: WebUI, kind: str):
    given, said = REFUSED[kind]
    failed = webui.txt2img(alwayson_scripts={"UniID": given})
    assert failed.status >= 400
    assert said in failed.error


def test_json_text_is_a_request(webui: WebUI):
    asked = latents(webui.txt2img(alwayson_scripts={"UniID": {"args": [json.dumps(ANNA)]}}))
    assert torch.equal(asked, latents(webui.txt2img(alwayson_scripts={"UniID": {"args": [ANNA]}})))


def test_a_disabled_request_gets_no_note(webui: WebUI):
    answer = webui.txt2img(alwayson_scripts={"UniID": {"args": [{**ANNA, "enabled": False}]}})
    assert answer.status == 200
    assert "UniID notes" not in answer.result


def test_a_request_without_uniid_gets_no_note(webui: WebUI):
    assert "UniID notes" not in webui.txt2img().result


def test_text_in_the_panel_is_used_only_with_its_switch(webui: WebUI):
    p = webui.processing({"alwayson_scripts": {"UniID": {"args": [json.dumps(ANNA), False]}}})
    p.is_api = False
    webui.namespace["extension"].before_process(p, *p.script_args[webui.first :])
    assert len(webui.namespace["extension"].states) == 0
