"""Installs missing packages one by one; the WebUI runs it at every start, a user with ``--again``.

Installed packages stay unchanged: every installed version is a constraint for pip. The outcome is stored, so
the next start is quick, and a failed package is tried again only after the environment has changed.
"""

import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lib_uniid import installation
from lib_uniid.installation import NEEDED

PROOF = """
import importlib, sys
for module in sys.argv[1:]:
    print("start", module, flush=True)
    try:
        importlib.import_module(module)
        print("works", module, flush=True)
    except BaseException as error:
        print("fails", module, type(error).__name__ + ":", *str(error).split(), flush=True)
"""
VERSION = re.compile(
    r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.?post\d+)?(\.?dev\d+)?(\+[A-Za-z0-9.]+)?", re.IGNORECASE
)
"""Versions that pip accepts in a constraint; Debian has others."""
NO_NETWORK = "the network did not answer"
_UNREACHED = ("Retrying (Retry(", "NewConnectionError", "ReadTimeoutError")


def install_missing(pip):
    """Install each missing package; names and reasons of the failures."""
    failed = {}
    for package in NEEDED:
        if installation.is_there(package):
            continue
        try:
            with_constraints(package, pip())
        except Exception as error:  # the host raises RuntimeError with pip's output
            if any(words in str(error) for words in _UNREACHED):
                failed[package.name] = NO_NETWORK
                break  # the others would time out too
            failed[package.name] = last_words(str(error))
        importlib.invalidate_caches()
    return failed


def with_constraints(package, run_pip):
    """Install a package with the host's pip without changing any installed version."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "installed.txt"
        have = installation.installed()
        lines = (f"{one}=={version}\n" for one, version in have.items() if VERSION.fullmatch(version))
        pins.write_text("".join(lines))
        run_pip(f'install {package.choose(have)} --constraint "{pins}"', f"{package.name} for UniID")


def last_words(printed):
    """pip's last error, or its last line."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()] or ["pip failed without output"]
    errors = [line for line in lines if "ERROR:" in line]
    return (errors or lines)[-1].partition("ERROR:")[2].strip()[:200] or lines[-1][:200]


def cannot_import(packages):
    """Names and reasons of the packages whose import fails, tested in another process."""
    modules = {package.proof or package.module: package.name for package in packages}
    environment = {
        **os.environ,
        "NO_ALBUMENTATIONS_UPDATE": "1",
    }  # a requirement of older releases of insightface
    failed = {}
    while modules:
        command = [sys.executable, "-c", PROOF, *modules]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
        seen = [line.split(maxsplit=2) for line in done.stdout.splitlines() if " " in line]
        for state, module, *words in seen:
            if state in {"works", "fails"} and module in modules:
                name = modules.pop(module)
                failed |= {name: words[0][:200]} if state == "fails" else {}
        if modules:  # the process ended inside an import
            failed[modules.pop(next(iter(modules)))] = f"its import ends Python with code {done.returncode}"
    return failed


def complete(pip):
    """Install and test all packages, and return the problems; ``pip`` returns the function that runs pip."""
    failed = install_missing(pip)
    there = [package for package in NEEDED if package.name not in failed]
    failed |= cannot_import(there[:-1])
    if not failed:  # insightface imports all the others, and would only repeat their failures
        failed |= cannot_import(there[-1:])
    return [installation.problem(one, failed[one.name]) for one in NEEDED if one.name in failed]


def again(problems):
    """The stored problems that remain: a user may have repaired a package."""
    there = [
        one for one in NEEDED if one.name in {p.package for p in problems} and installation.is_there(one)
    ]
    failed = cannot_import(there) if there else {}
    repaired = {one.name for one in there} - failed.keys()
    return tuple(one for one in problems if one.package not in repaired)


def pip_by_hand(command, _):
    """Run pip without a WebUI, with its output shown."""
    done = subprocess.run(f'"{sys.executable}" -m pip {command} --prefer-binary', shell=True)
    if done.returncode:
        raise RuntimeError(f"pip ended with code {done.returncode}; its output is above")


def launcher():
    """The WebUI's function that runs pip; ours outside a WebUI."""
    try:
        import launch  # pyright: ignore[reportMissingImports], the host's
    except ModuleNotFoundError:
        return pip_by_hand
    return launch.run_pip


def main(by_hand=False):
    """Check the packages unless the outcome is stored, print the problems and return them."""
    known = None if by_hand else installation.recall()
    problems = complete((lambda: pip_by_hand) if by_hand else launcher) if known is None else again(known)
    offline = any(one.reason == NO_NETWORK for one in problems)
    if problems != known and not offline:  # without a network the next start tries again
        installation.remember(problems)
    if problems:
        print(f"UniID: {installation.sentence(problems)}")
    return problems


if __name__ == "__main__":
    main(by_hand="--again" in sys.argv[1:])
