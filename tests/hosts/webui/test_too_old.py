"""A host that never calls the hook before sampling is refused before it samples."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts.webui.asking import ask, person
from tests.hosts.webui.standin import script_api
from tests.hosts.webui.standin.webui import Answer, WebUI
from tests.hosts.webui.watching import any_host

ANNA = ask(person("Anna"))


@pytest.fixture
def old(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> WebUI:
    """Its base class for scripts has no such hook, and its runner does not call ours."""
    monkeypatch.delattr(script_api.Script, "process_before_every_sampling")
    monkeypatch.setattr(any_host(webui), "before_sampling", lambda p, **given: None)
    version = SimpleNamespace(git_tag=lambda: "v1.8.0")
    monkeypatch.setitem(sys.modules, "modules.launch_utils", version)  # pyright: ignore[reportArgumentType]
    return webui


def refused(answer: Answer) -> str:
    assert answer.status == 500
    return answer.error


def test_it_is_named_with_its_version_and_nothing_is_sampled(old: WebUI):
    before = old.host.evaluations
    said = refused(old.txt2img(alwayson_scripts=ANNA))
    assert "AUTOMATIC1111's WebUI v1.8.0 does not call process_before_every_sampling" in said
    assert old.host.evaluations == before


def test_sd_next_is_named_too(old: WebUI, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "modules.launch_utils", SimpleNamespace())  # pyright: ignore[reportArgumentType]
    version: dict[str, Any] = {"app": "sd.next", "updated": "2025-01-01", "hash": "0123abcd"}
    installer = SimpleNamespace(get_version=lambda: version)
    monkeypatch.setitem(sys.modules, "installer", installer)  # pyright: ignore[reportArgumentType]
    assert "sd.next 2025-01-01 0123abcd does not call" in refused(old.txt2img(alwayson_scripts=ANNA))


def test_a_plain_picture_is_made_only_with_the_fallback_and_its_infotext_names_no_people(old: WebUI):
    answer = old.txt2img(alwayson_scripts=ask(person("Anna"), fallback="plain"))
    assert answer.status == 200
    assert any("does not call process_before_every_sampling" in comment for comment in answer.comments)
    assert "UniID: " not in answer.infotexts[0]


def test_a_picture_without_people_is_made(old: WebUI):
    assert old.txt2img().status == 200
