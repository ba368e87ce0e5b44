"""Switched off, the extension changes nothing; after a generation with people nothing is left of them."""

from tests.hosts.webui.genuine.beside import REFINER
from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person
from tests.hosts.webui.genuine.pictures import same


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
    assert webui.api.txt2img(alwayson_scripts=ask({"name": "Unknown"})).status == 500
    assert webui.api.txt2img().images == before
    assert webui.api.get("/uniid-probe/model").body == model


def test_plain_pictures_after_people_and_another_checkpoint_are_the_same_files_as_before(webui: Running):
    before = webui.api.txt2img()
    people = webui.api.txt2img(alwayson_scripts=ask(person("Anna")))
    with webui.api.options(sd_model_checkpoint=REFINER):
        switched = webui.api.txt2img()
        assert f"Model: {REFINER}" in switched.infotext
        assert same(switched, before)  # the same weights under another name
        assert same(webui.api.txt2img(alwayson_scripts=ask(person("Anna"))), people)
        assert same(webui.api.txt2img(), before)
    assert webui.api.txt2img().images == before.images
