"""One call of a genuine host's UNet gives what the stand-alone host gets with the same inputs."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Library
from tests.hosts.webui.genuine.api import SMALL
from tests.hosts.webui.genuine.host import Running
from tests.hosts.webui.genuine.people import ask, beside
from tests.near import assert_near

WEIGHTS = {"Anna": 2.0, "Ben": 1.0}
SCALE = 2.0
COND_FIRST, UNCOND_FIRST = [(Role.COND, Role.UNCOND)], [(Role.UNCOND, Role.COND)]
SPLIT = [(Role.COND,), (Role.UNCOND,)]
"""Of a host that does not call with both at once: the call is one of the two."""


@pytest.mark.parametrize("names", [("Anna",), ("Anna", "Ben")], ids=["one person", "two people"])
def test_one_call_of_the_unet(webui: Running, tell: Callable[[str], None], names: tuple[str, ...]):
    people = [{"name": name, "weight": WEIGHTS[name]} for name in names]
    assert (
        webui.api.txt2img(alwayson_scripts=beside(ask(*people, identity_scale=SCALE), record=True)).status
        == 200
    )
    call = {name: _array(text) for name, text in webui.api.get("/uniid-probe/call").body.items()}
    models = webui.data / "models"
    settings = GenerationSettings(
        prompt=SMALL["prompt"],
        width=SMALL["width"],
        height=SMALL["height"],
        identity_scale=SCALE,
        people=tuple(PersonSettings(name=name, weight=WEIGHTS[name]) for name in names),
    )
    library = Library(folder=models / "uniid" / "library")
    studio = open_studio(models, device="cpu")
    plan, unet = studio.plan(settings, {name: library.load(name) for name in names}), studio.host.unet
    assert plan is not None
    given = call["x"], call["timesteps"], call["context"]
    with torch.no_grad():
        plain = unet(*given, return_dict=False)[0]
        expected = [_with(unet, plan, roles, given) for roles in _roles(webui, len(call["x"]))]
    nearest = min(expected, key=lambda out: _apart(out, call["out"]))
    furthest, moved = (_apart(one, call["out"]) for one in (nearest, plain))
    tell(f"{len(names)} people: {furthest:.1e} from the stand-alone host, {moved:.1e} from the plain picture")
    assert moved > 1e-3
    assert_near(call["out"], nearest, within=1e-4)


def _roles(webui: Running, rows: int) -> list[tuple[Role, ...]]:
    if rows == 1:
        return SPLIT
    return UNCOND_FIRST if webui.patches else COND_FIRST


def _with(unet: Any, plan: Plan, roles: tuple[Role, ...], given: tuple[torch.Tensor, ...]) -> torch.Tensor:
    with injected(find_sites(unet), plan, Rows(roles)):
        return unet(*given, return_dict=False)[0]


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def _array(text: str) -> torch.Tensor:
    return torch.from_numpy(np.load(io.BytesIO(base64.b64decode(text))))
