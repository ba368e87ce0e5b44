"""Many generations in one WebUI: hooks, memory, infotexts, and independence of earlier generations.

python dev.py bench soak [--json] [--generations 500] [--host a1111|forge]

It runs the tests' stand-in for a WebUI, with narrow networks. ``tests/hosts/webui/genuine/test_soak.py`` does
the same in a genuine WebUI.
"""

import argparse
import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
import torch

from benchmarks.report import Figure, report
from tests.conftest import write_webui_models
from tests.hosts.webui.asking import LEFT, NO_FACE, ask, person
from tests.hosts.webui.soak import Soaked, Traces, kinds_of_request, soak
from tests.hosts.webui.standin.a1111 import A1111
from tests.hosts.webui.standin.forge import Forge
from tests.hosts.webui.standin.script_api import Callbacks
from tests.hosts.webui.standin.unets import diffusers_unet
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import any_host, hooks
from tests.narrow import write_models

HOSTS = {"a1111": A1111, "forge": Forge}
SMALL: dict[str, Any] = {"steps": 2, "width": 32, "height": 32}
KINDS = kinds_of_request(
    ask,
    person,
    {"alwayson_scripts": ask(person("Anna", mask=LEFT), person("Ben")), "enable_hr": True},
    NO_FACE,
)


class Standin:
    """The stand-in WebUI as a maker of pictures."""

    def __init__(self, webui: WebUI) -> None:
        self.webui = webui

    def make(self, kind: str, *, interrupted: bool) -> str:
        host = self.webui.host
        host.interrupt_at = host.evaluations + 1 if interrupted else None
        answer = self.webui.txt2img(**{**SMALL, **KINDS[kind]})
        host.interrupt_at, host.interrupted = None, False
        if answer.p is None:
            return answer.error
        digest = hashlib.sha256(torch.cat(answer.p.latents).numpy().tobytes()).hexdigest()
        return "\n".join([digest, *answer.infotexts, *answer.comments])

    def traces(self) -> Traces:
        gc.collect()
        return Traces(
            hooks=hooks(any_host(self.webui).unet),
            runs=len(self.webui.namespace["extension"].states),
            bytes=psutil.Process().memory_info().rss,
        )


def main(argv: list[str]) -> int:
    """Run on both types of host; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--generations", type=int, default=500)
    parser.add_argument("--host", choices=HOSTS, action="append")
    options = parser.parse_args(argv)
    return report(_measured(options.host or list(HOSTS), options.generations), as_json=options.json)


def _measured(kinds: list[str], generations: int) -> Iterator[Figure]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        models = write_webui_models(write_models(Path(folder) / "models"), Path(folder) / "webui")
        for kind in kinds:
            webui = WebUI(patch, models, HOSTS[kind](Callbacks(), diffusers_unet()))
            webui.load()
            yield from figures(f"soak/{kind}", soak(Standin(webui), KINDS, generations))


def figures(name: str, soaked: Soaked) -> Iterator[Figure]:
    """Figures of a soak, with targets."""
    yield Figure(name=f"{name}/generations", value=soaked.generations, unit="")
    yield Figure(name=f"{name}/interrupts", value=soaked.interrupts, unit="")
    yield Figure.at_most(f"{name}/unlike_the_first_of_their_kind", len(soaked.other), "", 0)
    yield Figure.at_most(f"{name}/hooks_left", soaked.hooks, "", 0)
    yield Figure.at_most(f"{name}/runs_left", soaked.runs, "", 0)
    yield Figure(name=f"{name}/memory", value=soaked.bytes[-1] / 2**20, unit="MB")
    yield Figure(name=f"{name}/memory_last_grew", value=soaked.last_growth, unit="th generation")
    yield Figure(name=f"{name}/memory_per_generation", value=soaked.slope / 2**10, unit="kB")
    yield Figure.at_most(f"{name}/memory_drift", soaked.drift, "of its scatter", 1)
