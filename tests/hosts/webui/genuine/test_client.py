"""People through webuiapi, a client without support for UniID; docs/api.md names it."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.hosts.webui.genuine.api import SMALL
from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, person


def client(webui: Running) -> Any:
    webuiapi = pytest.importorskip("webuiapi")
    address = urlsplit(webui.api.address)
    return webuiapi.WebUIApi(host=str(address.hostname), port=address.port or 0)


def test_it_makes_the_same_picture_and_reads_who_was_found(webui: Running):
    scripts = ask({"name": "Anna"}, person("Ben", region="right half"))
    made = client(webui).txt2img(**SMALL, alwayson_scripts=scripts)
    expected = webui.api.txt2img(alwayson_scripts=scripts).info["extra_generation_params"]
    for key in ("UniID", "UniID result"):
        assert made.info["extra_generation_params"][key] == expected[key]
    assert made.image.size == (SMALL["width"], SMALL["height"])


def test_a_wrong_request_raises_with_the_fields_name(webui: Running):
    wrong = ask({"name": "Anna", "weight": "1"})
    with pytest.raises(RuntimeError, match=r"people\[0\].weight must be a number from 0 to 2"):
        client(webui).txt2img(**SMALL, alwayson_scripts=wrong)
