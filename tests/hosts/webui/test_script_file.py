"""What the WebUI executes at its start: quick, light, and without effects."""

import json
import subprocess
import sys

import pytest

from lib_uniid.ui.form import Form
from tests.hosts.webui.asking import ask, person
from tests.hosts.webui.standin.webui import ROOT, TABS, WebUI

# The host has numpy and gradio loaded and no jaxtyping. It is the processor's time: the machine may be busy.
PROBE = """
import sys, time
import numpy
import gradio
sys.modules["jaxtyping"] = None
from pathlib import Path
from tests.hosts.webui.standin.script_api import Callbacks, host_modules
sys.modules.update(host_modules(Callbacks(), "models"))
code = compile(Path("scripts/uniid.py").read_text(), "uniid.py", "exec")
before = time.process_time()
exec(code, {"__name__": "uniid.py"})
print(1000 * (time.process_time() - before), *sorted(set(sys.modules)))
"""
HEAVY = {
    "torch",
    "insightface",
    "open_clip",
    "onnxruntime",
    "cv2",
    "diffusers",
    "transformers",
    "safetensors",
}
START_MILLISECONDS, INSTALL_MILLISECONDS = 150, 100


def printed(code: str) -> list[str]:
    """Words that a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_loading_the_script_is_quick_and_imports_nothing_heavy():
    milliseconds, *modules = printed(PROBE)
    assert set(modules) & HEAVY == set()
    assert "lib_uniid.hosts.webui.script" in modules
    quickest = float(milliseconds)
    for _ in range(4):  # a busy machine: the quickest of five
        if quickest < START_MILLISECONDS:
            break
        quickest = min(quickest, float(printed(PROBE)[0]))
    assert quickest < START_MILLISECONDS


def test_a_generation_without_people_imports_nothing(webui: WebUI, monkeypatch: pytest.MonkeyPatch):
    name = "lib_uniid.hosts.webui.generation"
    monkeypatch.setitem(sys.modules, name, None)  # importing it would raise
    assert webui.txt2img().status == 200
    assert webui.raised == []


def test_callbacks_are_registered_at_the_first_request_with_people(webui: WebUI):
    webui.txt2img()
    assert webui.callbacks.functions == {}  # a host may take 50 ms for each
    for _ in range(2):
        webui.txt2img(alwayson_scripts=ask(person()))
    assert {event: len(found) for event, found in webui.callbacks.functions.items()} == {
        "cfg_denoiser": 1,
        "script_unloaded": 1,
    }


def test_the_tabs_have_the_same_plain_arguments(webui: WebUI):
    assert [webui.values(tab) for tab in TABS] == [Form().values()] * 2
    assert [webui.defaults[tab][webui.first :] for tab in TABS] == [Form().values()] * 2
    json.dumps(webui.defaults)  # the host's script-info fails for every script otherwise
    assert webui.defaults["txt2img"][webui.first :][:2] == ["", False]


def test_the_panel_is_built_again_with_the_same_values(webui: WebUI):
    for tab in TABS:
        for _ in range(3):
            assert [component.value for component in webui.build(tab)] == Form().values()


def test_the_host_keeps_no_values_by_labels_that_repeat(webui: WebUI):
    for tab in TABS:
        assert all(component.do_not_save_to_config for component in webui.components(tab))
        names = [component.elem_id for component in webui.components(tab)]
        assert len(set(names)) == len(names)


# --- install.py ---


TIMED = """
import runpy, time
before = time.process_time()
runpy.run_path("install.py", run_name="__main__")
print(1000 * (time.process_time() - before))
"""


def test_the_installer_is_quick_if_nothing_is_missing():
    # The first run may have to find out whether everything can be imported.
    assert min(float(printed(TIMED)[-1]) for _ in range(2)) < INSTALL_MILLISECONDS
