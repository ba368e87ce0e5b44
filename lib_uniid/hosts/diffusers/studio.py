"""A studio of one models folder with the stand-alone host."""

from collections.abc import Callable
from pathlib import Path

import torch

from lib_uniid.caches import beside
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.errors import ConfigError
from lib_uniid.faces.seen import SeenFaces
from lib_uniid.hosts.diffusers.host import DiffusersHost
from lib_uniid.models import Models
from lib_uniid.pipeline import Studio


def open_studio(
    models: Path,
    *,
    base: Path | None = None,
    cache: Path | None = None,
    device: str | None = None,
    notify: Callable[[str], None] = lambda _: None,
    seen: SeenFaces | None = None,
) -> Studio:
    """Everything from one models folder, on the best device there is.

    ``base`` is the checkpoint to make pictures with, where the folder's first is not meant. ``cache`` keeps
    encodings, beside the models by default, and ``seen`` the faces of pictures.
    """
    folder, place = ModelFolder(models), _device(device or _best_device())
    dtype = torch.float32 if place.type == "cpu" else torch.float16
    return Studio(
        Models(
            folder=folder,
            device=place,
            cache=EncodingCache(folder=cache or beside(models / "uniid" / "cache")),
            notify=notify,
        ),
        lambda: DiffusersHost.load(base or folder.find("base"), place, dtype),
        seen,
    )


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the device {name!r} cannot be used ({reason}); take cpu, or leave it out"
        ) from error


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
