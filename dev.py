"""Commands for developers. It needs Python 3.10 or newer and nothing else.

    python dev.py demo [--out DIR] [--seed N] ...   pictures with identities, from the miniature's weights
    python dev.py serve [--models DIR] [--port N]   the stand-alone page, in a browser on this machine
    python dev.py test [pytest arguments]           style, import contracts, types, tests; or only pytest
    python dev.py hosts [a1111|forge|neo|classic] [arguments]   tests with a WebUI's requirements
    python dev.py pins                              check that all pins exist for Python 3.10 and 3.13
    python dev.py lint                              ruff, import contracts, types
    python dev.py bench NAME [--json]               one of benchmarks/*.py; proofs: the slow tests
    python dev.py setup                             only make or repair the environment

The first command makes ``.venv`` beside this file and installs the pinned requirements; ``hosts`` makes
``.venv-a1111`` and so on. Later commands start at once. An interrupted setup continues where it stopped.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("UniID needs Python 3.10 or newer; this is Python " + sys.version.split()[0])

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools import columns
from tools.columns import CONSTRAINTS, HOSTS, LDM, REQUIREMENTS, TORCH
from tools.environment import Environment, SetupError, interpreter, say

ROOT = Path(__file__).resolve().parent

PYTHONS = ("3.10", "3.13")
"""The oldest and the newest supported Python."""

IN_CI = ("a1111", "forge", "neo")
"""Forge Classic has A1111's gradio and Forge's rest."""

HOSTS_RUN_ON = ("3.11", "3.10")
"""Versions of Python with wheels for all pins of the WebUIs."""

# --- the environments ---

STANDALONE = Environment(
    folder=ROOT / ".venv",
    steps={
        **TORCH,
        "the other packages": ["-c", CONSTRAINTS, "-r", REQUIREMENTS / "dev.txt"],
        **LDM,  # pip would print an ERROR about its missing requirements if other packages came later
        "UniID itself, in place": ["-c", CONSTRAINTS, "--no-deps", "--no-build-isolation", "-e", ROOT],
    },
    files=(CONSTRAINTS, REQUIREMENTS / "dev.txt", REQUIREMENTS / "runtime.txt", ROOT / "pyproject.toml"),
)


def inside(host: str) -> Environment:
    """A WebUI's environment; see :mod:`tools.columns`."""
    return columns.environment(host, interpreter(HOSTS_RUN_ON))


# --- the commands ---


def python(*arguments: str) -> int:
    """Run the stand-alone environment's Python and return its exit code."""
    return STANDALONE.run(*arguments)


def first_failure(*commands: Sequence[str], where: Environment = STANDALONE) -> int:
    """Run commands in order and stop at the first failure."""
    for command in commands:
        say(f"$ {where.folder.name}: python " + " ".join(command))
        code = where.run(*command)
        if code != 0:
            return code
    return 0


RUFF = ("-m", "ruff", "check", ".")
CONTRACTS = ("-c", "from importlinter.cli import lint_imports_command as main; main(['--no-logo'])")
TYPES = ("-m", "pyright")


WORKERS = min(4, os.cpu_count() or 1)
SUITE = ("-m", "pytest", *(() if WORKERS == 1 else ("-n", str(WORKERS), "--dist", "loadfile")))
INSIDE = [
    f"tests/{name}"
    for name in (
        "api",
        "encoders",
        "faces",
        "hosts/webui",
        "library",
        "test_installation.py",
        "ui/test_enrolment.py",
        "ui/test_form.py",
        "ui/test_panel.py",
    )
]
"""Tests of code under a WebUI's pins: gradio, fastapi, numpy, Pillow, OpenCV, onnxruntime, safetensors."""
TORCH_ALONE = [f"--ignore=tests/hosts/webui/test_{name}.py" for name in ("rows", "style")]
"""These and all other tests use only torch and einops, and run stand-alone."""


def setup(_arguments: list[str]) -> int:
    """Only make or repair the environment."""
    STANDALONE.set_up()
    return 0


def demo(arguments: list[str]) -> int:
    """Generate pictures with identities, from the miniature's weights."""
    return python("-m", "miniature.demo", *arguments)


def serve(arguments: list[str]) -> int:
    """The stand-alone page; with the miniature's weights, if present and no other models folder is named."""
    named = "UNIID_MODELS" in os.environ or any(one.startswith("--models") for one in arguments)
    miniature = ROOT / "miniature" / "models"
    own = [] if named or not any(miniature.glob("Stable-diffusion/*")) else ["--models", str(miniature)]
    return python("-m", "lib_uniid.cli", "serve", *own, *arguments)


def test(arguments: list[str]) -> int:
    """Check style, import contracts and types and run all but slow tests; with arguments, only pytest."""
    if arguments:
        return first_failure(("-m", "pytest", *arguments))
    code = first_failure(RUFF, CONTRACTS)
    if code != 0:
        return code
    with ThreadPoolExecutor() as beside:  # the check of types takes a minute of one core
        types = beside.submit(first_failure, TYPES)
        code = first_failure((*SUITE, "-m", "not slow"))
    if types.result() != 0:
        say("the check of types failed; its errors are above, and python dev.py lint prints them again")
    return code or types.result()


def hosts(arguments: list[str]) -> int:
    """Run the tests of code inside a WebUI, with the pins of the named WebUI or of those in CI."""
    names = [arguments.pop(0)] if arguments and arguments[0] in HOSTS else IN_CI
    command = ("-m", "pytest", *arguments) if arguments else (*SUITE, *INSIDE, *TORCH_ALONE)
    return max(first_failure(command, where=inside(name)) for name in names)


def pins(_arguments: list[str]) -> int:
    """Check with pip that every pin has a release for the oldest and the newest Python; installs nothing."""
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run", "--no-deps")
    with tempfile.TemporaryDirectory() as nowhere:
        other = ("--ignore-installed", "--only-binary", ":all:", "--target", nowhere, "--python-version")
        return first_failure(*((*pip, *other, version, *columns.pinned(version)) for version in PYTHONS))


def lint(_arguments: list[str]) -> int:
    """Check style, import contracts and types."""
    return first_failure(RUFF, CONTRACTS, TYPES)


def bench(arguments: list[str]) -> int:
    """Run a benchmark by name."""
    return python("-m", "benchmarks", *arguments)


COMMANDS = {command.__name__: command for command in (demo, serve, test, hosts, pins, lint, bench, setup)}


def main(argv: list[str]) -> int:
    """Set up if necessary, then run the command; 2 for an unknown command."""
    name, *arguments = argv or ["--help"]
    if name in {"-h", "--help"}:
        print(__doc__)
        return 0
    if name not in COMMANDS:
        say(f"unknown command {name!r}; choose one of: {', '.join(COMMANDS)}")
        return 2
    try:
        return COMMANDS[name](arguments)
    except SetupError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
