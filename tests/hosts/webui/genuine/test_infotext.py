"""A picture's infotext makes the same picture again."""

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person

READ_BACK = {"styles": []}
"""Forge 2.0.1v1.10.1 fails to read styles out of an infotext, and does not try where they are given."""


def test_it_is_read_by_png_info(webui: Running):
    picture = webui.api.txt2img(alwayson_scripts=ask(person("Anna"), person("Ben", weight=0.5))).images[0]
    read = webui.api.post("/sdapi/v1/png-info", {"image": "data:image/png;base64," + picture}).body
    assert '"weight":0.5' in read["parameters"]["UniID"]
    assert "Anna" not in read["info"]


def test_a_plain_picture_has_no_infotext_of_uniid(webui: Running):
    assert "UniID" not in webui.api.txt2img().infotext


def test_sent_back_it_makes_the_same_file(webui: Running):
    asked = ask({"name": "Anna", "weight": 0.8}, {"name": "Ben"}, routing="off")
    first = webui.api.txt2img(alwayson_scripts=asked)
    again = webui.api.post("/sdapi/v1/txt2img", {**READ_BACK, "infotext": first.infotext})
    assert again.images == first.images
    assert again.infotext == first.infotext


def test_sent_back_without_people_it_makes_the_plain_file(webui: Running):
    first = webui.api.txt2img()
    assert (
        webui.api.post("/sdapi/v1/txt2img", {**READ_BACK, "infotext": first.infotext}).images == first.images
    )
