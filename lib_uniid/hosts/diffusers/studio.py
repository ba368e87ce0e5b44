"""Opens a studio: a models folder with the stand-alone host."""

from collections.abc import Callable
from pathlib import Path

import torch

from lib_uniid.bases import Base
from lib_uniid.errors import ConfigError
from lib_uniid.hosts.diffusers.host import DiffusersHost
from lib_uniid.pipeline import Studio
from lib_uniid.runtime import Runtime


def open_studio(
    models: Path,
    *,
    base: Path | None = None,
    cache: Path | None = None,
    device: str | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Studio:
    """A studio with the models of one folder, on the best available device.

    ``base`` is the checkpoint; None takes the first one in the folder. ``cache`` is the folder of encodings,
    by default beside the models.
    """
    runtime = Runtime(models, device=lambda: best_device(device), notify=notify, cache=cache)
    return studio_of(runtime, base)


def studio_of(runtime: Runtime, base: Path | None = None) -> Studio:
    """A studio with a runtime's networks; ``base`` as for :func:`open_studio`."""
    device = runtime.models.device  # reads the models folder again, and loads nothing yet
    dtype = torch.float32 if device.type == "cpu" else torch.float16

    def recognise() -> Base | None:
        path = base or runtime.index.look_up("base")
        return None if path is None else runtime.index.base(path)

    return Studio(
        runtime, lambda: DiffusersHost.load(base or runtime.index.find("base"), device, dtype), recognise
    )


def best_device(name: str | None = None) -> str:
    """The device of this name, or the best available one; ``ConfigError`` if it cannot be used."""
    name = name or _best_name()
    try:
        return str(torch.empty(0, device=name).device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the device {name!r} cannot be used ({reason}); use cpu, or leave the device out"
        ) from error


def _best_name() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
