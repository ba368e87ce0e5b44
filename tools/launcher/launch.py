"""A stand-in for a WebUI's ``launch`` module, which runs an extension's install.py.

    python tools/launcher/launch.py [extension's folder]

``run`` and ``run_pip`` behave as in modules/launch_utils.py of AUTOMATIC1111 v1.10.1, Forge dfdcbab6 and
Forge Neo 2.26: the output is captured, and is the message of the ``RuntimeError`` of a failed command.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(command: str, errdesc: str, **environment: str) -> str:
    """Run a command line in a shell and return what it prints."""
    result = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        env={**os.environ, **environment},
        encoding="utf8",
        errors="ignore",
        check=False,
    )
    if result.returncode != 0:
        lines = [f"{errdesc}.", f"Command: {command}", f"Error code: {result.returncode}"]
        lines += [f"stdout: {result.stdout}"] if result.stdout else []
        lines += [f"stderr: {result.stderr}"] if result.stderr else []
        raise RuntimeError("\n".join(lines))
    return result.stdout or ""


def run_pip(command: str, desc: str | None = None) -> str:
    """Run pip; extensions call this."""
    return run(f'"{sys.executable}" -m pip {command} --prefer-binary', f"Couldn't install {desc}")


def run_extension_installer(extension: Path) -> str:
    """Run its install.py as the launcher does at every start."""
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    return run(
        f'"{sys.executable}" "{extension / "install.py"}"',
        f"Error running install.py for extension {extension}",
        PYTHONPATH=path,
    ).strip()


if __name__ == "__main__":
    said = run_extension_installer(Path(sys.argv[1]) if sys.argv[1:] else HERE.parents[1])
    sys.exit(said or 0)  # no output if everything works
