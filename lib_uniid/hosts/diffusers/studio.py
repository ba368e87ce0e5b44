"""A studio of one models folder with the stand-alone host."""

from collections.abc import Callable
from pathlib import Path

import torch

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
    """Everything from one models folder, on the best device there is.

    ``base`` is the checkpoint to make pictures with, where the folder's first is not meant. ``cache`` keeps
    encodings, beside the models by default.
    """
    runtime = Runtime(models, device=lambda: best_device(device), notify=notify, cache=cache)
    return studio_of(runtime, base)


def studio_of(runtime: Runtime, base: Path | None = None) -> Studio:
    """A studio with what a runtime has; ``base`` as for :func:`open_studio`."""
    device = runtime.models.device  # looks at the disk, and loads nothing yet
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    return Studio(runtime, lambda: DiffusersHost.load(base or runtime.index.find("base"), device, dtype))


def best_device(name: str | None = None) -> str:
    """The device of this name, or the best that there is; ``ConfigError`` for one that cannot be used."""
    name = name or _best_name()
    try:
        return str(torch.empty(0, device=name).device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the device {name!r} cannot be used ({reason}); take cpu, or leave it out"
        ) from error


def _best_name() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
