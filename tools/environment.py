"""Virtual environments from pins: made once, completed after an interruption, unchanged if complete."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCHEMAS = Path(__file__).with_name("torchvision_schemas.py")
SCHEMAS_MISSING = "operator torchvision::nms does not exist"
PATIENCE = 15.0
"""Seconds for a command to end after Ctrl+C; the page closes its connections in that time."""


class SetupError(Exception):
    """The environment could not be made; the message says what to do."""


def say(message: str) -> None:
    """Print a line of progress without buffering."""
    print(message, file=sys.stderr, flush=True)


def call(command: Sequence[str | Path], folder: Path) -> int:
    """Run a command and return its exit code; Ctrl+C reaches the command too and ends it."""
    with subprocess.Popen(command, cwd=folder) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            try:
                return child.wait(PATIENCE)
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                child.kill()
                raise KeyboardInterrupt from None


def interpreter(versions: Sequence[str]) -> str:
    """The first of these versions of Python that is installed: this one, on the path, or in pyenv."""
    for version in versions:
        if version == "{}.{}".format(*sys.version_info):
            return sys.executable
        kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        for found in (shutil.which(f"python{version}"), *sorted(kept.glob(f"{version}.*/bin/python"))):
            if found is not None and _starts(found):
                return str(found)
    raise SetupError(f"Python {' or '.join(versions)} is needed and was not found; install one")


def _starts(python: str | Path) -> bool:
    """Whether it starts; pyenv's commands on the path do not start for versions that are not selected."""
    return subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Environment:
    """A virtual environment beside ``dev.py``.

    ``steps`` are the installation steps, in order: a name, and pip's arguments or a script. ``files``
    determine the result of the steps; if one of them changes, the steps run again. ``made_with``
    is its interpreter.
    """

    folder: Path
    steps: Mapping[str, Sequence[str | Path]]
    files: Sequence[Path]
    made_with: str = sys.executable

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamp(self) -> Path:
        """The file with a complete environment's fingerprint."""
        return self.folder / "uniid-stamp"

    def fingerprint(self) -> str:
        """Hash of all inputs; the folder is one of them, because the install is editable."""
        digest = hashlib.sha256(repr((str(self.folder), self.steps)).encode())
        for file in (*self.files, SCHEMAS):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def is_ready(self) -> bool:
        """Whether it is complete and made from the current requirements."""
        return self.python.is_file() and self.stamp.is_file() and self.stamp.read_text() == self.fingerprint()

    def set_up(self) -> None:
        """Complete it if necessary; raises :class:`SetupError` on failure."""
        if self.is_ready():
            return
        say(
            f"setting up {self.folder.name}: some minutes and about 2 GB the first time, more if torch "
            "includes GPU libraries"
        )
        self.make()
        self.stamp.unlink(missing_ok=True)
        site_packages = Path(
            self.capture("import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        )
        drop_half_installed(site_packages)
        self.install()
        say("checking")
        self.repair_torchvision(site_packages)
        self.check_libraries()
        self.stamp.write_text(self.fingerprint())
        say("ready")

    def run(self, *arguments: str) -> int:
        """Complete it, run its Python in the project's root and return the exit code."""
        self.set_up()
        return call([self.python, *arguments], self.folder.parent)

    def capture(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in it and capture the output."""
        command = [self.python, "-c", code]
        return subprocess.run(command, cwd=self.folder.parent, capture_output=True, text=True, check=False)

    def make(self) -> None:
        """Create it; recreate it if its interpreter or pip does not start."""
        if self.python.is_file() and self.capture("import pip").returncode == 0:
            return
        say(f"making {self.folder.name}")
        self._call(
            [self.made_with, "-m", "venv", "--clear", self.folder],
            fails_with="the virtual environment could not be made: on Debian and Ubuntu install python3-venv",
        )

    def install(self) -> None:
        """Run the steps; pip skips installed packages, so a second run is short."""
        pip = [self.python, "-m", "pip", "--disable-pip-version-check", "install"]
        for number, (what, arguments) in enumerate(self.steps.items(), 1):
            say(f"[{number}/{len(self.steps)}] {what}")
            script = str(arguments[0]).endswith(".py")
            command = [self.python, *arguments] if script else [*pip, *arguments]
            self._call(command, fails_with=f"pip could not install {what}")

    def repair_torchvision(self, site_packages: Path) -> None:
        """Install ``tools/torchvision_schemas.py`` as a start-up hook, only where torchvision needs it."""
        module, start = site_packages / SCHEMAS.name, site_packages / f"{SCHEMAS.stem}.pth"
        for file in (module, start):
            file.unlink(missing_ok=True)
        probe = self.capture("import torchvision")
        if probe.returncode == 0:
            return
        if SCHEMAS_MISSING not in probe.stderr:
            raise SetupError(f"torchvision does not start: {probe.stderr.strip().splitlines()[-1]}")
        shutil.copyfile(SCHEMAS, module)
        start.write_text(f"import {SCHEMAS.stem}\n")

    def check_libraries(self) -> None:
        """Name the system library that OpenCV lacks on a bare Linux machine."""
        probe = self.capture("import cv2")
        if probe.returncode != 0:
            reason = probe.stderr.strip().splitlines()[-1]
            remedy = "on Debian and Ubuntu install libgl1 and libglib2.0-0"
            raise SetupError(f"OpenCV does not start: {reason}; {remedy}")

    def _call(self, command: Sequence[str | Path], *, fails_with: str) -> None:
        """Run a command with its output shown."""
        code = subprocess.call([str(part) for part in command], cwd=self.folder.parent)
        if code != 0:
            raise SetupError(f"{fails_with} (exit code {code}); run the same command again to continue")


def drop_half_installed(site_packages: Path) -> None:
    """Remove records of packages whose installation was killed: pip writes INSTALLER last."""
    for info in site_packages.glob("*.dist-info"):
        if not (info / "INSTALLER").is_file():
            say(f"reinstalling after an interruption: {info.name.removesuffix('.dist-info')}")
            shutil.rmtree(info)
