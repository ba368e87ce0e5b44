"""*Reload UI*: the script is executed anew, the model stays, and what a failure left on it is gone."""

from collections.abc import Generator

import pytest

from tests.hosts.webui.genuine.host import Genuine, Running, booted, reload_page
from tests.hosts.webui.genuine.people import ask, beside, person

BOTH = ask(person("Anna"), person("Ben"))


@pytest.fixture
def with_page(genuine: Genuine, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    with booted(genuine, tmp_path_factory.mktemp("reload"), page=True) as running:
        yield running


def test_after_a_failure_and_a_reload_pictures_are_as_before(with_page: Running):
    api = with_page.api
    people, plain = api.txt2img(alwayson_scripts=BOTH).images, api.txt2img().images
    # After a plain picture: Forge takes a LoRA out of the weights when the next picture is made without it.
    model = api.get("/uniid-probe/model").body
    assert api.txt2img(alwayson_scripts=beside(BOTH, fail=2)).status == 500
    if with_page.kind == "a1111":  # Forge's own patches die with the generation, the hooks do not
        assert api.get("/uniid-probe/model").body != model
    reload_page(with_page)
    assert api.get("/uniid-probe/traces").body["hooks"] == model["hooks"]
    assert api.txt2img().images == plain
    assert api.get("/uniid-probe/model").body == model
    assert api.txt2img(alwayson_scripts=BOTH).images == people
    assert api.txt2img().images == plain
