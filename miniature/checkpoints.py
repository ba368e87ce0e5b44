"""The miniature's checkpoint of each base family."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from miniature.sdxl.assemble import complete

CHECKPOINTS: Mapping[str, Callable[[Path], Path]] = {
    "sd15": lambda models: models / "Stable-diffusion" / "uniid-miniature.safetensors",
    "sdxl": lambda models: complete(models / "Stable-diffusion"),
}
"""By name, from the models folder; that of SDXL is completed there when it is first asked for."""

SDXL_SETTINGS: Mapping[str, Any] = {
    "identity_scale": 0.8,
    "text_before": 0.5,
    "text_after": 0.5,
    "adapter_before": 0.4,
}
"""What suits the miniature better than the scales of the published weights.

Here names were learnt at the norm that rescaling gives them, and in the presence of face tokens. With half of
the published scale before the merge, words that contradict the reference are kept more often.
"""
