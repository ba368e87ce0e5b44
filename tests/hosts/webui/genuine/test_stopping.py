"""Interrupted, skipped and failed generations leave nothing."""

from typing import Any

from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, beside, person
from tests.hosts.webui.genuine.pictures import apart

BOTH = ask(person("Anna"), person("Ben"))
TWO: dict[str, Any] = {"n_iter": 2}


def test_an_interrupt_returns_the_finished_pictures_and_leaves_nothing(webui: Running):
    before, model = webui.api.txt2img().images, webui.api.get("/uniid-probe/model").body
    whole = webui.api.txt2img(**TWO, alwayson_scripts=BOTH)
    stopped = webui.api.txt2img(**TWO, alwayson_scripts=beside(BOTH, interrupt=2))
    assert len(stopped.images) < len(whole.images)
    assert apart(stopped.images[0], whole.images[0]) > 0
    assert webui.api.txt2img().images == before
    assert webui.api.get("/uniid-probe/model").body == model


def test_after_a_skipped_batch_the_next_is_as_ever(webui: Running):
    before = webui.api.txt2img().images
    whole = webui.api.txt2img(**TWO, alwayson_scripts=BOTH)
    skipped = webui.api.txt2img(**TWO, alwayson_scripts=beside(BOTH, skip=2))
    assert apart(skipped.images[0], whole.images[0]) > 0
    assert apart(skipped.images[-1], whole.images[-1]) == 0
    assert webui.api.txt2img().images == before


def test_after_a_failure_in_the_middle_of_sampling_nothing_is_left(webui: Running):
    before, model = webui.api.txt2img().images, webui.api.get("/uniid-probe/model").body
    people = webui.api.txt2img(alwayson_scripts=BOTH).images
    assert webui.api.txt2img(alwayson_scripts=beside(BOTH, fail=2)).status == 500
    assert webui.api.txt2img().images == before
    assert webui.api.get("/uniid-probe/model").body == model
    assert webui.api.txt2img(alwayson_scripts=BOTH).images == people
