"""The developer's one door. It needs Python 3.10 or newer and nothing else.

    python dev.py demo [--out DIR] [--seed N] ...   people into pictures, with the miniature's weights
    python dev.py serve [--models DIR] [--port N]   the page, in a browser on this machine
    python dev.py test [pytest arguments]           what CI runs; with arguments, pytest alone
    python dev.py lint                              ruff, import contracts, types
    python dev.py bench NAME [--json]               one of benchmarks/*.py
    python dev.py setup                             only make or mend the environment

The first command makes ``.venv`` beside this file and installs the pinned requirements; later ones start at
once. A set-up that was stopped half-way goes on where it was.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("UniID needs Python 3.10 or newer; this is Python " + sys.version.split()[0])

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "uniid-stamp"
REQUIREMENTS = ROOT / "requirements"
SCHEMAS = ROOT / "tools" / "torchvision_schemas.py"
SCHEMAS_MISSING = "operator torchvision::nms does not exist"


class SetupError(Exception):
    """The environment could not be made; the message says what to do."""


def say(message: str) -> None:
    """Print a line of progress, also through a pipe at once."""
    print(message, file=sys.stderr, flush=True)


# --- the environment ---


def venv_python(venv: Path) -> Path:
    """Path of the interpreter inside a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint() -> str:
    """Hash of all that decides what the environment holds; the folder counts: the install is in place."""
    files = [*sorted(REQUIREMENTS.glob("*.txt")), ROOT / "pyproject.toml", SCHEMAS]
    digest = hashlib.sha256(str(ROOT).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_ready() -> bool:
    """Whether the environment is whole and made from today's requirements."""
    return venv_python(VENV).is_file() and STAMP.is_file() and STAMP.read_text() == fingerprint()


def call(command: Sequence[str | Path], *, fails_with: str) -> None:
    """Run a command with its output shown; :class:`SetupError` says ``fails_with`` when it ends badly."""
    code = subprocess.call([str(part) for part in command], cwd=ROOT)
    if code != 0:
        raise SetupError(f"{fails_with} (exit code {code}); run the same command again to go on")


def capture(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code inside the environment and keep what it prints."""
    command = [venv_python(VENV), "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def make_venv() -> None:
    """Create ``.venv``, again from nothing if its interpreter or pip does not start."""
    if venv_python(VENV).is_file() and capture("import pip").returncode == 0:
        return
    say("making .venv")
    call(
        [sys.executable, "-m", "venv", "--clear", VENV],
        fails_with="the virtual environment could not be made: on Debian and Ubuntu install python3-venv",
    )


def drop_half_installed(site_packages: Path) -> None:
    """Forget packages whose installation was killed: pip writes INSTALLER after a package's last file."""
    for info in site_packages.glob("*.dist-info"):
        if not (info / "INSTALLER").is_file():
            say(f"installing again, it was cut off: {info.name.removesuffix('.dist-info')}")
            shutil.rmtree(info)


def install() -> None:
    """Install the pinned requirements; pip skips what is there, so a second run is short."""
    # torchvision comes alone: its registry build may name GPU packages that the installed torch does without.
    steps = {
        "torch": ["torch"],
        "torchvision": ["--no-deps", "torchvision"],
        # The WebUIs' own UNet, for tests; of what its package names, only torch and einops are used.
        "ldm": ["--no-deps", "stable-diffusion-sdkit"],
        "the other packages": ["-r", REQUIREMENTS / "dev.txt"],
        "UniID itself, in place": ["--no-deps", "--no-build-isolation", "-e", ROOT],
    }
    pip = [venv_python(VENV), "-m", "pip", "--disable-pip-version-check", "install"]
    for number, (what, arguments) in enumerate(steps.items(), 1):
        say(f"[{number}/{len(steps)}] {what}")
        command = [*pip, "-c", REQUIREMENTS / "constraints.txt", *arguments]
        call(command, fails_with=f"pip could not install {what}")


def mend_torchvision(site_packages: Path) -> None:
    """Install ``tools/torchvision_schemas.py`` as a start-up hook, only where torchvision needs it."""
    module, start = site_packages / SCHEMAS.name, site_packages / f"{SCHEMAS.stem}.pth"
    for file in (module, start):
        file.unlink(missing_ok=True)
    probe = capture("import torchvision")
    if probe.returncode == 0:
        return
    if SCHEMAS_MISSING not in probe.stderr:
        raise SetupError(f"torchvision does not start: {probe.stderr.strip().splitlines()[-1]}")
    shutil.copyfile(SCHEMAS, module)
    start.write_text(f"import {SCHEMAS.stem}\n")


def check_libraries() -> None:
    """Name the system library that OpenCV lacks on a bare Linux machine."""
    probe = capture("import cv2")
    if probe.returncode != 0:
        reason = probe.stderr.strip().splitlines()[-1]
        remedy = "on Debian and Ubuntu install libgl1 and libglib2.0-0"
        raise SetupError(f"OpenCV does not start: {reason}; {remedy}")


def set_up() -> None:
    """Make the environment whole; does nothing when it is."""
    if is_ready():
        return
    say("setting up: some minutes and about 2 GB the first time, more where torch brings its GPU libraries")
    make_venv()
    STAMP.unlink(missing_ok=True)
    site_packages = Path(capture("import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    drop_half_installed(site_packages)
    install()
    say("checking")
    mend_torchvision(site_packages)
    check_libraries()
    STAMP.write_text(fingerprint())
    say("ready")


# --- the commands ---


def python(*arguments: str) -> int:
    """Run the environment's Python in the repository and return its exit code."""
    return subprocess.call([venv_python(VENV), *arguments], cwd=ROOT)


def first_failure(*commands: Sequence[str]) -> int:
    """Run one after another and stop at the first that fails."""
    for command in commands:
        say("$ python " + " ".join(command))
        code = python(*command)
        if code != 0:
            return code
    return 0


RUFF = ("-m", "ruff", "check", ".")
CONTRACTS = ("-c", "from importlinter.cli import lint_imports_command as main; main(['--no-logo'])")
TYPES = ("-m", "pyright")


def pytest(arguments: Sequence[str]) -> tuple[str, ...]:
    """The pytest command; the whole suite goes to as many workers as there are cores, at most four."""
    workers = min(4, os.cpu_count() or 1)
    parallel = () if arguments or workers == 1 else ("-n", str(workers), "--dist", "loadfile")
    return ("-m", "pytest", *parallel, *arguments)


def setup(_arguments: list[str]) -> int:
    """Only make or mend the environment."""
    return 0


def demo(arguments: list[str]) -> int:
    """Put people into pictures with the miniature's weights."""
    return python("-m", "lib_uniid.miniature.demo", *arguments)


def serve(arguments: list[str]) -> int:
    """The page; with the miniature's weights where no other models folder is named and they are there."""
    named = "UNIID_MODELS" in os.environ or any(one.startswith("--models") for one in arguments)
    miniature = ROOT / "lib_uniid" / "miniature" / "models"
    own = [] if named or not any(miniature.glob("Stable-diffusion/*")) else ["--models", str(miniature)]
    return python("-m", "lib_uniid.cli", "serve", *own, *arguments)


def test(arguments: list[str]) -> int:
    """Run what CI runs; with arguments, pytest alone with them."""
    if arguments:
        return first_failure(pytest(arguments))
    return first_failure(RUFF, CONTRACTS, pytest(()))


def lint(_arguments: list[str]) -> int:
    """Check style, import contracts and types."""
    return first_failure(RUFF, CONTRACTS, TYPES)


def bench(arguments: list[str]) -> int:
    """Run a benchmark by its name."""
    return python("-m", "benchmarks", *arguments)


COMMANDS = {command.__name__: command for command in (demo, serve, test, lint, bench, setup)}


def main(argv: list[str]) -> int:
    """Set up if need be, then run the command; 2 when there is no such command."""
    name, *arguments = argv or ["--help"]
    if name in {"-h", "--help"}:
        print(__doc__)
        return 0
    if name not in COMMANDS:
        say(f"there is no command {name!r}; choose one of: {', '.join(COMMANDS)}")
        return 2
    try:
        set_up()
        return COMMANDS[name](arguments)
    except SetupError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
