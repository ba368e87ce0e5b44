"""The WebUI around a host: loads the script, keeps its defaults, answers requests."""

import json
import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import gradio as gr
import pytest
from gradio import routes
from PIL import Image

from tests.hosts.webui.standin.forge import Forge, load_model_gpu
from tests.hosts.webui.standin.neo import LORA_MODULE, Neo
from tests.hosts.webui.standin.processing import (
    Host,
    Processing,
    Runner,
    images_tensor_to_samples,
)
from tests.hosts.webui.standin.script_api import AlwaysVisible, Script, host_modules, xyz_plot
from tests.hosts.webui.standin.selectable import KINDS

ROOT = Path(__file__).resolve().parents[4]
TABS = {"txt2img": False, "img2img": True}
ROOM = 3
"""Arguments of a script that is selected."""
AT_REST: list[Any] = []
"""Values of a panel where nothing was set; kept, because building one takes longer than most tests."""


@dataclass
class Answer:
    """What HTTP brings: a status, and pictures with their information or an error."""

    status: int
    images: list[Image.Image]
    infotexts: list[str]
    comments: list[str]
    result: dict[str, Any]
    error: str
    p: Processing | None


class WebUI:
    """One process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, models_path: Path, host: Host) -> None:
        self.callbacks, self.host = host.callbacks, host
        load = load_model_gpu if isinstance(host, Forge) else None
        modules = host_modules(self.callbacks, str(models_path), load)
        samplers: Any = modules["modules.sd_samplers_common"]
        samplers.images_tensor_to_samples = images_tensor_to_samples
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        self.state: Any = modules["modules.shared"].state
        self.api = _host_api()
        if isinstance(host, Neo):
            monkeypatch.setitem(sys.modules, "backend.patcher.lora", LORA_MODULE)
        self.xyz = xyz_plot()
        scripts: Any = modules["modules.scripts"]
        scripts.scripts_data.append(SimpleNamespace(path="scripts/xyz_grid.py", module=self.xyz))
        self.runners: dict[str, Runner] = {}
        self.defaults: dict[str, list[Any]] = {}
        self.namespace: dict[str, Any] = {}
        self.panels: dict[str, list[Any]] = {}

    def load(self) -> None:
        """Execute the script file as the hosts do: its folder is on the path only meanwhile."""
        path = ROOT / "scripts" / "uniid.py"
        module = ModuleType(path.name)
        sys.path.insert(0, str(ROOT))
        try:
            exec(compile(path.read_text(), path, "exec"), module.__dict__)
        finally:
            sys.path.remove(str(ROOT))
        self.namespace = module.__dict__
        kinds = [
            kind for kind in module.__dict__.values() if isinstance(kind, type) and issubclass(kind, Script)
        ]
        self.panels = {}
        for tab, is_img2img in TABS.items():
            scripts = [kind() for kind in kinds]
            selectables = [kind() for kind in KINDS]
            self.runners[tab] = Runner(scripts, selectables=selectables)
            self.defaults[tab] = [0]  # which script is selected
            for one in selectables:
                one.state = self.state
                one.args_from = len(self.defaults[tab])
                self.defaults[tab] += [None] * ROOM
                one.args_to = len(self.defaults[tab])
            for script in scripts:
                assert script.show(is_img2img) is AlwaysVisible
                script.is_img2img = is_img2img
                script.args_from = self.first = len(self.defaults[tab])
                self.defaults[tab] += AT_REST or self.values(tab)
                script.args_to = len(self.defaults[tab])
        AT_REST[:] = self.defaults["txt2img"][self.first :]

    def components(self, tab: str) -> list[Any]:
        """The controls of the panel in a tab, built when they are first asked for."""
        if tab not in self.panels:
            self.panels[tab] = self.build(tab)
        return self.panels[tab]

    def build(self, tab: str) -> list[Any]:
        """Build the panel once more: hosts do so three times per tab, for the API and its documentation too.

        No server is made for it, which would take longer than all the rest.
        """
        with patch.object(routes.App, "create_app"), gr.Blocks(analytics_enabled=False):
            return self.runners[tab].scripts[0].ui(TABS[tab])

    def values(self, tab: str) -> list[Any]:
        """What the controls hold at rest."""
        return [component.value for component in self.components(tab)]

    def reload(self) -> None:
        """``Reload UI``: the script file is unloaded and executed again, the model stays."""
        self.callbacks.call("script_unloaded")
        self.callbacks.functions.clear()
        self.load()

    def processing(self, payload: dict[str, Any], tab: str = "txt2img") -> Processing:
        """As the API makes it."""
        return self.api.processing(self, self.api.Request.of(payload), tab)

    def sent(self, source: str, target: str) -> list[tuple[Any, Any]]:
        """What *Send to* below the gallery connects: components by the names of their fields, one by one."""
        return list(zip(self._pasted(source), self._pasted(target), strict=True))

    def _pasted(self, tab: str) -> list[Any]:
        assert self.components(tab)
        script = self.runners[tab].scripts[0]
        return [component for component, name in script.infotext_fields if name in script.paste_field_names]

    def new_processing(self, **values: Any) -> Processing:
        return Processing(host=self.host, **values)

    def txt2img(self, **payload: Any) -> Answer:
        """One request to the API."""
        try:
            p, made = self.api.text2imgapi(self, self.api.Request.of(payload))
        except Exception as error:
            status = getattr(error, "status_code", 500)
            return Answer(status, [], [], [], {}, f"{type(error).__name__}: {error}", None)
        told = json.loads(made.js())
        comments = [line for line in made.comments.split("\n") if line]
        return Answer(200, made.images, told["infotexts"], comments, told["extra_generation_params"], "", p)

    @property
    def raised(self) -> list[Exception]:
        """What hooks and callbacks raised and the host swallowed."""
        return [*self.callbacks.raised, *(e for runner in self.runners.values() for e in runner.raised)]


def _host_api() -> Any:
    path = Path(__file__).with_name("api.py")
    spec = spec_from_file_location("modules.api.api", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
