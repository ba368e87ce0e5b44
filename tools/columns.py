"""Environments of the WebUIs: their own requirements, then UniID's install.py as their launchers run it.

``requirements/hosts`` has copies of the requirement files; the ``.lock`` beside each says what these bring.
Two things differ from a user's installation. torch is that of ``constraints.txt``, so that one wheel serves
all; it needs a newer setuptools than the hosts pin. And CLIP, which the launchers build, is left out.
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

# torchvision comes alone: its registry build may name GPU packages that the installed torch does without.
TORCH: Steps = {
    "torch": ["-c", CONSTRAINTS, "torch"],
    "torchvision": ["-c", CONSTRAINTS, "--no-deps", "torchvision"],
}
# The WebUIs' own UNet is there for tests; of what its package names, only torch and einops are used.
LDM: Steps = {"ldm": ["-c", CONSTRAINTS, "--no-deps", "stable-diffusion-sdkit"]}

HOSTS = ("a1111", "forge", "neo", "classic")

BESIDE = {
    # It has no diffusers, whose narrow UNet stands in for the host's in the tests.
    "a1111": ("diffusers==0.31.0",),
    # What its built-in preprocessors bring with mediapipe, over the opencv-python 4.10 that it pins.
    "neo": ("opencv-contrib-python==5.1.0.95",),
}


def environment(host: str, made_with: str) -> Environment:
    """What UniID meets inside a WebUI; it is not installed there, extensions run from their folders."""
    lock = REQUIREMENTS / "hosts" / f"{host}.lock"
    tests = REQUIREMENTS / "inside.txt"
    return Environment(
        folder=ROOT / f".venv-{host}",
        steps={
            **TORCH,
            # Both files name every version, and Forge Neo's launcher installs against requirements of gradio.
            "what the WebUI requires": ["--prefer-binary", "--no-deps", "-r", lock, *required(host)],
            "UniID's packages, by install.py": [LAUNCHER],
            **LDM,
            "what the tests need": ["-c", lock, *BESIDE.get(host, ()), "-r", tests],
        },
        files=(CONSTRAINTS, lock, tests, *INSTALLER),
        made_with=made_with,
    )


def required(host: str) -> list[str]:
    """The lines of the WebUI's own file, but for torch and setuptools."""
    lines = (REQUIREMENTS / "hosts" / f"{host}.txt").read_text().splitlines()
    wanted = [line.partition(" #")[0].strip() for line in lines if line.strip() and line[0] != "#"]
    return [*(line for line in wanted if line.partition("==")[0] not in {"torch", "setuptools"}), *ours()]


def pinned(version: str) -> list[str]:
    """The pins of ``constraints.txt`` that count for a version of Python.

    Without torch's own, which are large, the package that comes as source, and the one that pip refuses to
    look up from another Python.
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
