"""Virtual environments from pins: made once, mended where a set-up was stopped, left alone when whole."""

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
"""Seconds that a command has to end after Ctrl+C; a page closes its connections in that time."""


class SetupError(Exception):
    """The environment could not be made; the message says what to do."""


def say(message: str) -> None:
    """Print a line of progress, also through a pipe at once."""
    print(message, file=sys.stderr, flush=True)


def call(command: Sequence[str | Path], folder: Path) -> int:
    """Run a command and return its exit code; Ctrl+C reaches it, too, and it says how that ends."""
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
    """A Python of the first of these versions that is installed: this one, on the path, or kept by pyenv."""
    for version in versions:
        if version == "{}.{}".format(*sys.version_info):
            return sys.executable
        kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        for found in (shutil.which(f"python{version}"), *sorted(kept.glob(f"{version}.*/bin/python"))):
            if found is not None and _starts(found):
                return str(found)
    raise SetupError(f"Python {' or '.join(versions)} is needed here, and none was found; install one")


def _starts(python: str | Path) -> bool:
    """What pyenv puts on the path does not, where it keeps that version and has not chosen it."""
    return subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Environment:
    """A virtual environment beside ``dev.py``.

    ``steps`` says what is installed, in this order: what it is called, and pip's arguments for it, or a
    script that does it. ``files`` are those that decide what comes of the steps; when one of them changes,
    the steps are gone through again.
    ``made_with`` is the interpreter that it gets.
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
        """Where a whole environment has its fingerprint."""
        return self.folder / "uniid-stamp"

    def fingerprint(self) -> str:
        """Hash of all that decides what is in it; the folder counts: the install is in place."""
        digest = hashlib.sha256(repr((str(self.folder), self.steps)).encode())
        for file in (*self.files, SCHEMAS):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def is_ready(self) -> bool:
        """Whether it is whole and made from today's requirements."""
        return self.python.is_file() and self.stamp.is_file() and self.stamp.read_text() == self.fingerprint()

    def set_up(self) -> None:
        """Make it whole; does nothing when it is. :class:`SetupError` where that can't be done."""
        if self.is_ready():
            return
        say(
            f"setting up {self.folder.name}: some minutes and about 2 GB the first time, more where torch "
            "brings its GPU libraries"
        )
        self.make()
        self.stamp.unlink(missing_ok=True)
        site_packages = Path(
            self.capture("import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        )
        drop_half_installed(site_packages)
        self.install()
        say("checking")
        self.mend_torchvision(site_packages)
        self.check_libraries()
        self.stamp.write_text(self.fingerprint())
        say("ready")

    def run(self, *arguments: str) -> int:
        """Run its Python in the project's root and return the exit code; made whole before that."""
        self.set_up()
        return call([self.python, *arguments], self.folder.parent)

    def capture(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in it and keep what that prints."""
        command = [self.python, "-c", code]
        return subprocess.run(command, cwd=self.folder.parent, capture_output=True, text=True, check=False)

    def make(self) -> None:
        """Create it, again from nothing if its interpreter or pip does not start."""
        if self.python.is_file() and self.capture("import pip").returncode == 0:
            return
        say(f"making {self.folder.name}")
        self._call(
            [self.made_with, "-m", "venv", "--clear", self.folder],
            fails_with="the virtual environment could not be made: on Debian and Ubuntu install python3-venv",
        )

    def install(self) -> None:
        """Go through the steps; pip skips what is there, so a second time is short."""
        pip = [self.python, "-m", "pip", "--disable-pip-version-check", "install"]
        for number, (what, arguments) in enumerate(self.steps.items(), 1):
            say(f"[{number}/{len(self.steps)}] {what}")
            script = str(arguments[0]).endswith(".py")
            command = [self.python, *arguments] if script else [*pip, *arguments]
            self._call(command, fails_with=f"pip could not install {what}")

    def mend_torchvision(self, site_packages: Path) -> None:
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
            raise SetupError(f"{fails_with} (exit code {code}); run the same command again to go on")


def drop_half_installed(site_packages: Path) -> None:
    """Forget packages whose installation was killed: pip writes INSTALLER after a package's last file."""
    for info in site_packages.glob("*.dist-info"):
        if not (info / "INSTALLER").is_file():
            say(f"installing again, it was cut off: {info.name.removesuffix('.dist-info')}")
            shutil.rmtree(info)
