"""Impossible requests fail with a sentence, and never give a picture without the people."""

from typing import Any

import pytest

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a weight": (ask(person("Anna", weight=9)), "people[0].weight"),
    "a weight as text": (ask(person("Anna", weight="1")), "people[0].weight"),
    "an unknown field": (ask(person("Anna"), colour="red"), "colour"),
    "no version": ({"UniID": {"args": [{"people": [person("Anna")]}]}}, "version"),
    "no people": (ask(), "people"),
    "an unknown person": (ask({"name": "Unknown"}), "people[0]"),
    "no picture": (ask({"name": "Anna", "references": ["%%%"]}), "people[0].references[0]"),
    "a number": ({"UniID": {"args": [5]}}, "request"),
    "null": ({"UniID": {"args": [None]}}, "request"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_it_fails_with_the_name_of_the_field(webui: Running, name: str):
    scripts, field = WRONG[name]
    answer = webui.api.txt2img(alwayson_scripts=scripts)
    assert answer.status == 500
    assert "images" not in answer.body
    assert field in str(answer.body), answer.body


def test_a_plain_picture_only_where_it_is_allowed(webui: Running):
    answer = webui.api.txt2img(alwayson_scripts=ask({"name": "Unknown"}, fallback="plain"))
    assert answer.images == webui.api.txt2img().images
    assert "Identities not applied: people[0]" in answer.info["extra_generation_params"]["UniID notes"]
