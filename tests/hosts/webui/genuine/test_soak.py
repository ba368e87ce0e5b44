"""Many generations in one genuine WebUI; ``UNIID_WEBUI_SOAK`` is their number."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.report import table
from benchmarks.soak import figures
from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, beside, person, picture
from tests.hosts.webui.soak import Traces, kinds_of_request, soak

pytestmark = [pytest.mark.slow]

SHORT: dict[str, Any] = {"steps": 2, "width": 64, "height": 64}


class GenuinePlace:
    """A running host as a place to make pictures in."""

    def __init__(self, webui: Running) -> None:
        self.webui = webui
        self.kinds = kinds_of_request(ask, person, webui.hires(2), picture("David"))

    def make(self, kind: str, *, interrupted: bool) -> str:
        values: dict[str, Any] = {**SHORT, **self.kinds[kind]}
        if interrupted:
            values["alwayson_scripts"] = beside(values.get("alwayson_scripts"), interrupt=2)
        answer = self.webui.api.txt2img(**values)
        if answer.status != 200:
            return str(answer.body)
        return "\n".join(answer.images)  # PNG files, which hold their infotexts

    def traces(self) -> Traces:
        return Traces(**self.webui.api.get("/uniid-probe/traces").body)


def test_many_generations(webui: Running, tell: Callable[[str], None]):
    generations = int(os.environ.get("UNIID_WEBUI_SOAK", "50"))
    assert webui.api.txt2img(**SHORT).images  # Forge loads its model for the first picture
    place = GenuinePlace(webui)
    soaked = soak(place, place.kinds, generations)
    found = list(figures(f"soak/genuine/{webui.kind}", soaked))
    tell(table(found))
    assert soaked.other == []
    # Over few generations a host's own caches are still filling.
    missed = [one.name for one in found if one.holds is False and not one.name.endswith("memory_drift")]
    assert missed == []
    assert generations < 500 or soaked.drift <= 1
