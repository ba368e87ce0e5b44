"""Reports to the tests from the host's process: how scripts load, and what is on the UNet."""

# pyright: basic, reportMissingImports=false, reportFunctionMemberAccess=false
# It runs in the host, and what it imports is only there.

import gc
import hashlib
import sys
import time
from pathlib import Path

from modules import paths, script_callbacks, script_loading
from uniid_probe import unet

loads = {}
original = getattr(script_loading.load_module, "original", script_loading.load_module)


class Collecting:
    """The collector's time: it goes over all that the host has ever loaded, in whose script it happens to."""

    def __init__(self):
        self.seconds, self._began = 0.0, 0.0

    def __call__(self, phase, _):
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.seconds += time.thread_time() - self._began


def load_module(path):
    """The host's own, with the time that it took and the modules that it brought."""
    before, collecting = set(sys.modules), Collecting()
    gc.callbacks.append(collecting)
    began, worked = time.perf_counter(), time.thread_time()
    try:
        return original(path)
    finally:
        gc.callbacks.remove(collecting)
        loads[str(path)] = {
            "milliseconds": 1000 * (time.perf_counter() - began),
            "processor_milliseconds": 1000 * (time.thread_time() - worked - collecting.seconds),
            "collector_milliseconds": 1000 * collecting.seconds,
            "modules": sorted(set(sys.modules) - before),
        }


load_module.original = original
script_loading.load_module = load_module


def know_narrow_models():
    """open_clip's settings of narrow text models, which A1111 asks for by a name in a checkpoint's .yaml."""
    folder = Path(paths.models_path) / "Stable-diffusion"
    if any(folder.glob("*.json")):
        import open_clip

        open_clip.add_model_config(folder)


def model():
    """Hooks on the UNet's layers, attributes of theirs that begin with network_, and its weights' digest."""
    network, digest = unet(), hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    layers = list(network.modules())
    return {
        "hooks": sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in layers),
        "digest": digest.hexdigest(),
    }


def versions():
    """Of the host and what it runs on."""
    from importlib import metadata

    names = ("torch", "gradio", "fastapi", "pydantic", "transformers", "numpy", "Pillow", "open-clip-torch")
    there = {one.metadata["Name"].lower().replace("_", "-") for one in metadata.distributions()}
    known = {name: metadata.version(name) for name in names if name.lower() in there}
    return {"python": sys.version.split()[0]} | known


def add_routes(_, app):
    app.add_api_route("/uniid-probe/loads", lambda: loads, methods=["GET"])
    app.add_api_route("/uniid-probe/model", model, methods=["GET"])
    app.add_api_route("/uniid-probe/versions", versions, methods=["GET"])


know_narrow_models()
script_callbacks.on_app_started(add_routes)
