"""A genuine WebUI, started on loopback with folders of its own and stopped by its own process."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.webui.genuine.api import Api

ROOT = Path(__file__).resolve().parents[4]
PROBE = Path(__file__).resolve().parent / "probe"
START_SECONDS = 400
STARTED = "Startup time"

COMMON = [
    "--skip-prepare-environment",  # no git, no pip, nothing from outside
    "--api",
    "--server-name",
    "127.0.0.1",  # without the page it would listen on all interfaces
    "--skip-version-check",
    "--no-hashing",
    "--disable-console-progressbars",
]
OWN_FLAGS = {
    "a1111": ["--do-not-download-clip", "--use-cpu", "all", "--no-half", "--precision", "full"],
    "forge": ["--always-cpu", "--all-in-fp32"],
    "neo": ["--cpu", "--force-fp32"],  # it ends at flags that it does not know
}
SETTINGS = {
    "live_previews_enable": False,  # one kind of preview fetches its decoder
    "samples_save": False,
    "grid_save": False,
}
OWN_SETTINGS: dict[str, dict[str, object]] = {
    "a1111": {},
    "forge": {"forge_preset": "all"},  # any other replaces PAGE_VALUES when the page is opened
    "neo": {
        "forge_preset": "sd",
        "sd_t2i_width": 128,
        "sd_t2i_height": 128,
        "sd_t2i_step": 15,
        "sd_t2i_cfg": 4.0,
        "sd_t2i_sampler": "Euler",
        "sd_i2i_width": 128,
        "sd_i2i_height": 128,
        "refiner_use_steps": True,  # else it begins at a sigma
    },
}
PAGE_VALUES = {
    "txt2img/Width/value": 128,
    "txt2img/Height/value": 128,
    "customscript/sampler.py/txt2img/Sampling steps/value": 15,
    "txt2img/CFG Scale/value": 4.0,
    "img2img/Width/value": 128,  # *Send to inpaint* leaves the size as it is
    "img2img/Height/value": 128,
}
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "COMMANDLINE_ARGS": "",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "UNIID_ALSO": "",  # other programs' models on this machine are none of a test's business
}


_REQUIRED = re.compile(r'^VERSION_UID\b.*=\s*"(\w+)"', re.MULTILINE)


def required_settings(folder: Path) -> dict[str, object]:
    """What a settings file must hold: without it Forge Neo waits for a key before it starts."""
    found = _REQUIRED.search((folder / "modules" / "launch_utils.py").read_text(encoding="utf-8"))
    return {"VERSION_UID": found[1]} if found else {}


def kind_of(folder: Path) -> str:
    """Which of the three hosts, or what is near to it, lies in a folder."""
    if not (folder / "modules_forge").is_dir():
        return "a1111"
    return "neo" if required_settings(folder) else "forge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Genuine:
    """What ``UNIID_WEBUI`` names: the host's folder, the Python it runs with, and models for it."""

    folder: Path
    python: Path
    models: Path

    @property
    def kind(self) -> str:
        return kind_of(self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A host that answers; ``log`` grows while it runs."""

    genuine: Genuine
    api: Api
    log: Path
    data: Path

    @property
    def kind(self) -> str:
        return self.genuine.kind

    @property
    def patches(self) -> bool:
        """Whether it is Forge or grew from it: the UNet is patched through clones."""
        return self.kind != "a1111"

    def hires(self, scale: float) -> dict[str, Any]:
        """Of a request with a second pass; Forge Neo has no latent upscalers."""
        modules = {"hr_additional_modules": ["Use same choices"]} if self.patches else {}
        upscaler = "None" if self.kind == "neo" else "Latent"
        return {
            "enable_hr": True,
            "hr_scale": scale,
            "hr_upscaler": upscaler,
            "denoising_strength": 0.6,
            **modules,
        }


@contextmanager
def booted(genuine: Genuine, data: Path, *, extension: bool = True, page: bool = False) -> Generator[Running]:
    """The host with ``data`` for its models, settings and extensions; its own folder stays as it is."""
    lay_out(genuine, data, extension=extension)
    port = _free_port()
    command = [str(genuine.python), str(genuine.folder / "launch.py"), *_flags(genuine)]
    command += ["--port", str(port), "--data-dir", str(data), *([] if page else ["--nowebui"])]
    for served in (genuine.folder, ROOT):  # what the page is made of; else only below the working folder
        command += ["--gradio-allowed-path", str(served)]
    log = data / "host.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=_working_folder(genuine, data),
            env={**os.environ, **OFFLINE},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        running = Running(genuine=genuine, api=Api(port), log=log, data=data)
        try:
            _wait(process, running, starts=1)
            yield running
        finally:
            _stop(process)


def _flags(genuine: Genuine) -> list[str]:
    """Common ones, the kind's own, and one that only some hosts know and that the others end at."""
    known = (genuine.folder / "modules" / "cmd_args.py").read_text(encoding="utf-8")
    optional = [flag for flag in ("--no-download-sd-model",) if f'"{flag}"' in known]
    return [*COMMON, *OWN_FLAGS[genuine.kind], *optional]


def _working_folder(genuine: Genuine, data: Path) -> Path:
    """Forge Classic looks below it for its own packages, the miniature's ``.yaml`` for a text model."""
    return genuine.folder if (genuine.folder / "ldm_patched").is_dir() else data


def lay_out(genuine: Genuine, data: Path, *, extension: bool) -> None:
    """Models are copied, as the extension writes beside them."""
    shutil.copytree(genuine.models, data / "models", symlinks=True)
    (data / "tmp").mkdir()  # Forge Neo keeps the page's pictures there, and makes only its own folder's
    extensions = data / "extensions"
    extensions.mkdir()
    (extensions / "aa-probe").symlink_to(PROBE)  # loaded before all others
    if extension:
        (extensions / "uniid").symlink_to(ROOT)
    (data / "ui-config.json").write_text(json.dumps(PAGE_VALUES), encoding="utf-8")
    # Some hosts begin with the first checkpoint by name, others with any.
    first = {"sd_model_checkpoint": min(genuine.models.glob("Stable-diffusion/*.safetensors")).name}
    settings = {**SETTINGS, **first, **OWN_SETTINGS[genuine.kind], **required_settings(genuine.folder)}
    (data / "config.json").write_text(json.dumps(settings), encoding="utf-8")


def reload_page(running: Running) -> None:
    """What the button *Reload UI* does; returns when the host answers again."""
    starts = running.log.read_text(encoding="utf-8").count(STARTED)
    assert running.api.post("/uniid-probe/reload", {}).status == 200
    _wait(None, running, starts=starts + 1)


def _wait(process: subprocess.Popen[bytes] | None, running: Running, *, starts: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            break
        with suppress(OSError):
            if running.log.read_text(encoding="utf-8").count(STARTED) < starts:
                pass  # a request before that would close the application for what the host still adds to it
            elif running.api.get("/sdapi/v1/scripts").status == 200:
                return
        time.sleep(0.5)
    tail = "\n".join(running.log.read_text(encoding="utf-8").splitlines()[-40:])
    raise AssertionError(f"the WebUI did not start; the end of its log:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
