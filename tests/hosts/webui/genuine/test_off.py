"""Switched off the extension is gone, and after people were put in nothing is left of them."""

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person


def test_a_picture_without_people_is_the_same_file_as_without_the_extension(webui: Running, bare: Running):
    assert webui.api.txt2img().images == bare.api.txt2img().images


def test_a_plain_picture_after_people_is_the_same_file_as_before(webui: Running):
    before, model = webui.api.txt2img().images, webui.api.get("/uniid-probe/model").body
    people = webui.api.txt2img(alwayson_scripts=ask(person("Anna"), person("Ben")))
    assert people.images != before
    assert webui.api.txt2img().images == before
    assert webui.api.get("/uniid-probe/model").body == model


def test_a_plain_picture_after_a_refusal_is_the_same_file_as_before(webui: Running):
    before, model = webui.api.txt2img().images, webui.api.get("/uniid-probe/model").body
    assert webui.api.txt2img(alwayson_scripts=ask({"name": "Nobody"})).status == 500
    assert webui.api.txt2img().images == before
    assert webui.api.get("/uniid-probe/model").body == model
