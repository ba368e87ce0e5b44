"""Packages that a WebUI does not install: which are needed, which version fits, which do not work.

``install.py`` tries to install them and stores the outcome in a small file. The panel and all error
messages read it here. This module uses only the standard library and imports none of the packages.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from lib_uniid.errors import MissingPackageError

ROOT = Path(__file__).resolve().parents[1]
Versions = Mapping[str, str]
"""Normalised names of distributions -> their versions."""


class Package(NamedTuple):
    """``choose`` gives pip's arguments in an environment; ``others`` are distributions of the same module."""

    name: str
    module: str
    choose: Callable[[Versions], str]
    others: tuple[str, ...] = ()
    proof: str = ""
    """The module whose import is the test; if empty, ``module``."""


class Problem(NamedTuple):
    """A needed package that does not work: the reason, and the command that the user runs."""

    package: str
    reason: str
    command: str


# --- which version fits ---


def _pinned(arguments: str) -> Callable[[Versions], str]:
    return lambda _: arguments


def _onnx(versions: Versions) -> str:
    """The release whose generated code the installed protobuf can read.

    onnx 1.17 and newer need protobuf 4.25.1. 1.16.2 requires 3.20.2, but runs with the 3.20.0 that
    AUTOMATIC1111 and Forge pin, so pip must ignore its requirements.
    """
    protobuf = versions.get("protobuf")
    old = protobuf is not None and _numbers(protobuf) < (4, 25, 1)
    return "--no-deps onnx==1.16.2" if old else "onnx==1.20.1"


def _onnxruntime(_: Versions) -> str:
    """1.23.2 is the last for Python 3.10; it runs with numpy 1.26 and 2, and has no wheel for Python 3.15."""
    return "onnxruntime==1.23.2" if sys.version_info < (3, 14) else "onnxruntime"


def _opencv(versions: Versions) -> str:
    """4.11 is the last release for numpy 1. Not the headless build: other extensions open windows."""
    old = _numbers(versions.get("numpy", "2")) < (2,)
    return "opencv-python==4.11.0.86" if old else "opencv-python==5.0.0.93"


NEEDED = (
    Package("opencv-python", "cv2", _opencv, ("opencv-contrib-python", "opencv-python-headless")),
    # Versions of constraints.txt; all known hosts install their own.
    Package("einops", "einops", _pinned("einops==0.8.2")),
    Package("safetensors", "safetensors", _pinned("safetensors==0.8.0")),
    Package("pluggy", "pluggy", _pinned("pluggy==1.7.0")),
    # All known hosts install it.
    Package("packaging", "packaging", _pinned("packaging==26.3")),
    # insightface's requirements, as in constraints.txt for Python 3.10; all known hosts install them.
    Package("tqdm", "tqdm", _pinned("tqdm==4.70.1")),
    Package("requests", "requests", _pinned("requests==2.34.2")),
    Package("scipy", "scipy", _pinned("scipy==1.15.3")),
    Package("scikit-image", "skimage", _pinned("scikit-image==0.25.2")),
    Package("onnxruntime", "onnxruntime", _onnxruntime, ("onnxruntime-gpu", "onnxruntime-directml")),
    Package("onnx", "onnx", _onnx),
    # The first release with one wheel for all platforms; its requirements are the lines above.
    Package("insightface", "insightface", _pinned("--no-deps insightface==2.1"), proof="insightface.app"),
)


def installed() -> dict[str, str]:
    """Versions of all distributions here, from the names of pip's folders; the first of a name counts."""
    found: dict[str, str] = {}
    for name, version in _records():
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


_RECORD = re.compile(r"([A-Za-z0-9](?:[\w.-]*?[A-Za-z0-9])?)-(\d[^-]*)(?:-py\d[\d.]*)?\.(?:dist|egg)-info")


def _records() -> Iterator[tuple[str, str]]:
    for folder in dict.fromkeys(sys.path):
        if folder.rstrip("/\\").endswith("-packages") and os.path.isdir(folder):
            for entry in sorted(os.listdir(folder)):
                if record := _RECORD.fullmatch(entry):
                    yield record[1], record[2]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


# --- the stored outcome ---


def fingerprint() -> str:
    """A hash that changes with the packages, the interpreter and this file."""
    facts = repr((sys.version, sys.prefix, sorted(installed().items())))
    return hashlib.sha256(facts.encode() + Path(__file__).read_bytes()).hexdigest()


def remember(problems: Sequence[Problem]) -> None:
    """Write the outcome to the first writable file; without one, the next start checks again."""
    text = json.dumps({"fingerprint": fingerprint(), "problems": problems}, indent=1)
    for file in state_files():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        except OSError:
            continue
        return


def recall() -> tuple[Problem, ...] | None:
    """The stored outcome for the current environment; None if there is none."""
    now = fingerprint()
    return next((problems for known, problems in _outcomes() if known == now), None)


def _outcomes() -> Iterator[tuple[str, tuple[Problem, ...]]]:
    for file in state_files():
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            yield known["fingerprint"], tuple(Problem(*map(str, one)) for one in known["problems"])
        except (OSError, ValueError, TypeError, KeyError):
            continue  # not written yet, or damaged


def state_files() -> tuple[Path, Path]:
    """Beside the extension, or in the user's cache folder if that is read-only; one per environment."""
    name = f"uniid-packages-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]}.json"
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return ROOT / name, Path(caches, "uniid", name)


# --- the current state ---


def problems() -> tuple[Problem, ...]:
    """Packages that are missing now, or failed when this environment was checked."""
    known = {one.package: one for _, found in reversed(tuple(_outcomes())) for one in found}
    checked = {one.package for one in recall() or ()}
    return tuple(
        known.get(package.name) or problem(package, "it is not installed")
        for package in NEEDED
        if package.name in checked or not is_there(package)
    )


def is_there(package: Package) -> bool:
    """Whether Python finds it; it is not imported."""
    try:
        return find_spec(package.module) is not None
    except (ImportError, ValueError):  # a module without a spec, as some hosts register
        return package.module in sys.modules


def problem(package: Package, reason: str) -> Problem:
    """The problem of ``package``, with the command that installs or repairs it."""
    if "libGL" in reason or "libgthread" in reason:
        return Problem(package.name, reason, "apt-get install libgl1 libglib2.0-0")
    versions = installed()
    there = next((name for name in (package.name, *package.others) if name in versions), None)
    arguments = package.choose(versions)
    if is_there(package) and there:
        arguments = f"--force-reinstall --no-deps {there}=={versions[there]}"
    return Problem(package.name, reason, f'"{sys.executable}" -m pip install {arguments}')


def sentence(found: Sequence[Problem]) -> str:
    """The packages that do not work, the reasons, and the command to run."""
    reasons = ", ".join(f"{one.package} ({one.reason})" for one in found)
    verb = "does" if len(found) == 1 else "do"
    remedy = "stop this program, run this command in a terminal and restart the program"
    return f"{reasons} {verb} not work; {remedy}: {command(found)}"


def command(found: Sequence[Problem]) -> str:
    """One command line that repairs all of them."""
    again = ROOT / "install.py"
    if len(found) > 1 and again.is_file():
        return f'"{sys.executable}" "{again}" --again'
    return " && ".join(dict.fromkeys(one.command for one in found))


def advice(module: str, reason: str) -> str | None:
    """The sentence for a module that could not be imported; None if UniID does not install it."""
    package = next((one for one in NEEDED if one.module == module.split(".")[0]), None)
    return None if package is None else sentence(problems() or [problem(package, reason)])


def require() -> None:
    """Raise MissingPackageError with the sentence unless all packages work."""
    if found := problems():
        raise MissingPackageError(sentence(found))
