"""The miniature's checkpoint of each base family."""

from collections.abc import Callable, Mapping
from pathlib import Path

from miniature.sdxl.assemble import complete

CHECKPOINTS: Mapping[str, Callable[[Path], Path]] = {
    "sd15": lambda models: models / "Stable-diffusion" / "uniid-miniature.safetensors",
    "sdxl": lambda models: complete(models / "Stable-diffusion"),
}
"""By name, from the models folder; that of SDXL is completed there when it is first asked for."""
