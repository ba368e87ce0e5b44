"""A WebUI of either kind around a narrow UNet."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import write_webui_models
from tests.hosts.webui.standin.a1111 import A1111
from tests.hosts.webui.standin.forge import Forge
from tests.hosts.webui.standin.neo import Neo
from tests.hosts.webui.standin.script_api import Callbacks
from tests.hosts.webui.standin.unets import OtherUNet, diffusers_unet
from tests.hosts.webui.standin.webui import WebUI
from tests.narrow import UNET_CONFIG
from tests.narrow_uniid import write_models

HOSTS = {"a1111": A1111, "forge": Forge, "neo": Neo}
COLUMN = Path(sys.prefix).name.removeprefix(".venv-").replace("classic", "forge")
KINDS = [COLUMN] if COLUMN in HOSTS else list(HOSTS)
"""Under a WebUI's own pins, that WebUI alone."""
Start = Callable[..., WebUI]


@pytest.fixture(scope="session")
def unet() -> nn.Module:
    """The UNet of which each WebUI gets a copy."""
    return diffusers_unet()


@pytest.fixture(scope="session")
def xl_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder for SDXL; Anna and Ben are enrolled."""
    folder = tmp_path_factory.mktemp("xl")
    return write_webui_models(write_models(folder / "models"), folder / "webui")


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch,
    webui_models: Path,
    unet: nn.Module,
    opened_once: None,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Start:
    """Starts a WebUI of a kind, with a UNet of its own, and loads the script; ``xl`` is one with SDXL."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # no log of the user's own

    def start_one(kind: str, own: nn.Module | None = None, *, xl: bool = False) -> WebUI:
        host = HOSTS[kind](Callbacks(), own or copy.deepcopy(unet), xl=xl)
        models = request.getfixturevalue("xl_models") if xl else webui_models
        webui = WebUI(monkeypatch, models, host)
        webui.load()
        return webui

    return start_one


@pytest.fixture(params=KINDS)
def webui(request: pytest.FixtureRequest, start: Start) -> WebUI:
    """Each kind in turn."""
    return start(request.param)


@pytest.fixture
def other_unet() -> nn.Module:
    """A UNet that reads another width of text than the weights are for, and is called all the same."""
    torch.manual_seed(1)
    config: dict[str, Any] = {**UNET_CONFIG, "cross_attention_dim": 24}
    return OtherUNet(**config).eval().requires_grad_(False)
