"""Run by the WebUI at every start: installs what is missing and touches nothing that is there."""

import importlib.util
import tempfile
from importlib import metadata
from pathlib import Path

NEEDED = {
    "cv2": "opencv-python",
    "einops": "einops",
    "insightface": "insightface==2.1",
    "onnxruntime": "onnxruntime",
    "open_clip": "open_clip_torch",
    "safetensors": "safetensors",
}
"""What is imported, and what pip calls it; torch, numpy and Pillow are the host's in any case."""


def missing():
    """Names of pip for everything that cannot be imported; nothing is imported to find out."""
    return [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]


def install(names, run_pip):
    """Install ``names`` while every package that the host has keeps its version."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "host.txt"
        have = {one.metadata["Name"]: one.version for one in metadata.distributions() if one.metadata["Name"]}
        pins.write_text("".join(f"{name}=={version}\n" for name, version in sorted(have.items())))
        for name in names:
            run_pip(f'install "{name}" --constraint "{pins}"', f"{name} for UniID")


if __name__ == "__main__" and (names := missing()):
    import launch  # pyright: ignore[reportMissingImports], the host's

    install(names, launch.run_pip)
