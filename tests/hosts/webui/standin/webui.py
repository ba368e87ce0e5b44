"""The WebUI around a host: loads the script, keeps its defaults, answers requests."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from tests.hosts.webui.standin.forge import Forge, load_model_gpu
from tests.hosts.webui.standin.processing import (
    Host,
    Processing,
    Runner,
    images_tensor_to_samples,
    parse_infotext,
    process_images,
)
from tests.hosts.webui.standin.script_api import AlwaysVisible, Script, host_modules, xyz_plot

ROOT = Path(__file__).resolve().parents[4]
TABS = {"txt2img": False, "img2img": True}


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
        self.xyz = xyz_plot()
        scripts: Any = modules["modules.scripts"]
        scripts.scripts_data.append(SimpleNamespace(path="scripts/xyz_grid.py", module=self.xyz))
        self.runners: dict[str, Runner] = {}
        self.defaults: dict[str, list[Any]] = {}
        self.namespace: dict[str, Any] = {}

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
        for tab, is_img2img in TABS.items():
            scripts = [kind() for kind in kinds]
            self.runners[tab] = Runner(scripts)
            self.defaults[tab] = []
            for script in scripts:
                assert script.show(is_img2img) is AlwaysVisible
                script.is_img2img = is_img2img
                components = _built(script, is_img2img)
                script.args_from = len(self.defaults[tab])
                self.defaults[tab] += [component.value for component in components]
                script.args_to = len(self.defaults[tab])
                self.fields = list(script.infotext_fields)
                for _ in range(2):  # once more per start of the API and of the documentation
                    again = _built(script, is_img2img)
                    assert [c.value for c in again] == [c.value for c in components]
                self.components = components

    def reload(self) -> None:
        """``Reload UI``: the script file is unloaded and executed again, the model stays."""
        self.callbacks.call("script_unloaded")
        self.callbacks.functions.clear()
        self.load()

    def processing(self, payload: dict[str, Any], tab: str = "txt2img") -> Processing:
        """As the API makes it; raises KeyError for a script that is not there."""
        runner, args = self.runners[tab], list(self.defaults[tab])
        if infotext := payload.get("infotext"):
            parameters = parse_infotext(infotext)
            for component, read in self.fields:
                value = read(parameters)
                if value is not None and component.value is not None:  # None leaves an argument alone
                    place = next(n for n, one in enumerate(self.components) if one is component)
                    args[place] = type(component.value)(value)
        titles = {script.title().lower(): script for script in runner.scripts}
        for title, given in payload.get("alwayson_scripts", {}).items():
            script = titles[title.lower()]
            own = given.get("args", [])[: script.args_to - script.args_from]
            args[script.args_from : script.args_from + len(own)] = own
        rest = {k: v for k, v in payload.items() if k not in ("alwayson_scripts", "infotext")}
        return Processing(host=self.host, scripts=runner, script_args=args, **rest)

    def txt2img(self, **payload: Any) -> Answer:
        """One request to the API."""
        p = self.processing(payload)
        try:
            made = process_images(p)
        except Exception as error:
            return Answer(500, [], [], [], {}, f"{type(error).__name__}: {error}", None)
        return Answer(200, made.images, made.infotexts, made.comments, made.extra_generation_params, "", p)

    @property
    def raised(self) -> list[Exception]:
        """What hooks and callbacks raised and the host swallowed."""
        return [*self.callbacks.raised, *(e for runner in self.runners.values() for e in runner.raised)]


def _built(script: Script, is_img2img: bool) -> list[Any]:
    with gr.Blocks(analytics_enabled=False):
        return script.ui(is_img2img)
