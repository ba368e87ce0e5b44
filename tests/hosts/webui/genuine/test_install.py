"""install.py in a genuine host's environment: nothing to do is done at once, and no version ever changes."""

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.webui.genuine.host import ROOT, Genuine

INSTALL_MILLISECONDS = 100

# As the host runs it, but timed: from its own folder, as a process of its own.
TIMED = """
import os, runpy, sys, time
before = time.process_time()
sys.path.insert(0, os.path.dirname(sys.argv[1]))  # as where Python is given the file itself
runpy.run_path(sys.argv[1], run_name="__main__")
print(1000 * (time.process_time() - before))
"""
LISTED = """
import json
from importlib import metadata
found = [(one.metadata["Name"], one.version, str(one._path)) for one in metadata.distributions()]
print(json.dumps(sorted(map(str, found))))
"""
PINNED = """
import os, runpy, subprocess, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
from lib_uniid.installation import Package
with_constraints = runpy.run_path(sys.argv[1])["with_constraints"]
def run_pip(command, description):
    # The hosts run pip by a shell; a requirement that is quoted wrongly shows itself only there.
    found = subprocess.run(
        f'"{sys.executable}" -m pip {command} --dry-run --no-index --find-links "{sys.argv[2]}"',
        shell=True, capture_output=True, text=True,
    )
    print(found.returncode, found.stdout, found.stderr)
for name in sys.argv[3:]:
    with_constraints(Package(name, name, lambda _: name), run_pip)
"""


@pytest.fixture
def run(genuine: Genuine) -> Callable[..., str]:
    """What some code prints in the host's Python."""

    def run_code(code: str, *arguments: str) -> str:
        command = [str(genuine.python), "-c", code, str(ROOT / "install.py"), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(genuine.folder)}
        done = subprocess.run(
            command, cwd=genuine.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_code


def test_the_installer_is_quick_and_changes_nothing_if_nothing_is_missing(
    run: Callable[..., str], tell: Callable[[str], None]
):
    before = json.loads(run(LISTED))
    times = [float(run(TIMED).split()[-1]) for _ in range(3)]
    tell(f"install.py: {', '.join(f'{one:.0f}' for one in times)} ms of the processor")
    assert min(times) < INSTALL_MILLISECONDS
    assert json.loads(run(LISTED)) == before


def test_a_package_that_needs_another_version_of_a_hosts_package_is_refused(
    run: Callable[..., str], tmp_path: Path
):
    _wheel(tmp_path, "numpy", "9999.0")
    _wheel(tmp_path, "uniid-probe-modest", "1.0", needs="numpy")
    _wheel(tmp_path, "uniid-probe-greedy", "1.0", needs="numpy>=9999")
    modest, greedy = (run(PINNED, str(tmp_path), f"uniid-probe-{kind}") for kind in ("modest", "greedy"))
    assert modest.startswith("0 "), modest
    assert "Would install uniid-probe-modest-1.0\n" in modest
    assert greedy.startswith("1 "), greedy
    assert "conflict" in greedy


def _wheel(folder: Path, name: str, version: str, needs: str | None = None) -> None:
    """A package of nothing but its name, its version and what it needs."""
    stem = name.replace("-", "_") + "-" + version
    required = "" if needs is None else f"Requires-Dist: {needs}\n"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: uniid\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{stem}.dist-info/{file}", text)
