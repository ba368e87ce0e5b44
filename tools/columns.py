"""Environments of the WebUIs: their requirements, then UniID's install.py as their launchers run it.

``requirements/hosts`` has copies of the requirement files; the ``.lock`` beside each lists their resolved
versions. Two things differ from a user's installation. torch is that of ``constraints.txt``, so that all
share one wheel; it needs a newer setuptools than the hosts pin.
CLIP, which the launchers build, is left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.environment import Environment

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
CONSTRAINTS = REQUIREMENTS / "constraints.txt"
LAUNCHER = ROOT / "tools" / "launcher" / "launch.py"
INSTALLER = (ROOT / "install.py", ROOT / "lib_uniid" / "installation.py", LAUNCHER)

Steps = Mapping[str, Sequence[str | Path]]

# torchvision without requirements: its registry build may require GPU packages that this torch does not need.
TORCH: Steps = {
    "torch": ["-c", CONSTRAINTS, "torch"],
    "torchvision": ["-c", CONSTRAINTS, "--no-deps", "torchvision"],
}
# The WebUIs' UNet, for tests; of its requirements only torch and einops are used.
LDM: Steps = {"ldm": ["-c", CONSTRAINTS, "--no-deps", "stable-diffusion-sdkit"]}

HOSTS = ("a1111", "forge", "neo", "classic")

BESIDE = {
    # The host has no diffusers, whose narrow UNet replaces the host's in the tests.
    "a1111": ("diffusers==0.31.0",),
    # Its built-in preprocessors install this with mediapipe, over the pinned opencv-python 4.10.
    "neo": ("opencv-contrib-python==5.1.0.95",),
}


def environment(host: str, made_with: str) -> Environment:
    """The environment of UniID inside a WebUI; UniID runs from its folder, as extensions do."""
    lock = REQUIREMENTS / "hosts" / f"{host}.lock"
    tests = REQUIREMENTS / "inside.txt"
    return Environment(
        folder=ROOT / f".venv-{host}",
        steps={
            **TORCH,
            # Both files pin every version, and Forge Neo's launcher ignores requirements of gradio.
            "what the WebUI requires": ["--prefer-binary", "--no-deps", "-r", lock, *required(host)],
            "UniID's packages, by install.py": [LAUNCHER],
            **LDM,
            "what the tests need": ["-c", lock, *BESIDE.get(host, ()), "-r", tests],
        },
        files=(CONSTRAINTS, lock, tests, *INSTALLER),
        made_with=made_with,
    )


def required(host: str) -> list[str]:
    """The lines of the WebUI's file, except torch and setuptools."""
    lines = (REQUIREMENTS / "hosts" / f"{host}.txt").read_text().splitlines()
    wanted = [line.partition(" #")[0].strip() for line in lines if line.strip() and line[0] != "#"]
    return [*(line for line in wanted if line.partition("==")[0] not in {"torch", "setuptools"}), *ours()]


def pinned(version: str) -> list[str]:
    """The pins of ``constraints.txt`` that apply to a version of Python.

    Without torch's requirements, which are large, the package that has only a source release, and the one
    that pip refuses to look up from another Python.
    """
    minor = int(version.partition(".")[2])
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if line[0] != "#"]
    pairs = [line.partition(" ; python_version ") for line in lines]
    left_out = ("torch==", "torchvision==", "stable-diffusion-sdkit==", "audioop-lts==")
    return [pin for pin, _, marker in pairs if not pin.startswith(left_out) and _counts(marker, minor)]


def _counts(marker: str, minor: int) -> bool:
    """``>= "3.11"`` and ``< "3.11"`` are the two kinds of marker in ``constraints.txt``."""
    bound = int(marker.rpartition(".")[2].rstrip('"') or 0)
    return minor < bound if marker.startswith("<") else minor >= bound


def ours() -> list[str]:
    """torch's version, and the newest setuptools that still has pkg_resources."""
    pins = CONSTRAINTS.read_text().splitlines()
    return [next(line for line in pins if line.startswith("torch==")), "setuptools==80.9.0"]
