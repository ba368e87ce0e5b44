"""``bench install``: the real install.py in environments with the WebUIs' requirements.

For each host, the packages of install.py are uninstalled; then it runs as the launcher runs it. Missing
environments are made first, which takes some minutes and about 3 GB each.
"""

import argparse
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dev
from benchmarks.report import Figure, report
from tools.columns import HOSTS, LAUNCHER, ROOT
from tools.environment import Environment

MILLISECONDS = 100
BROUGHT = (
    "insightface",
    "onnx",
    "onnxruntime",
    "coloredlogs",
    "humanfriendly",
    "flatbuffers",
    "ml_dtypes",
    "pluggy",
)
TIMED = """
import runpy, time
before = time.process_time()
runpy.run_path("install.py", run_name="__main__")
print(1000 * (time.process_time() - before))
"""
IMPORTS = "import cv2, einops, onnx, onnxruntime, pluggy, safetensors, insightface.app"


def figures(hosts: Sequence[str]) -> Iterator[Figure]:
    """Figures of each host's environment."""
    for host in hosts:
        environment = dev.inside(host)
        environment.set_up()
        yield from measured(host, environment)


def measured(host: str, environment: Environment) -> Iterator[Figure]:
    """The figures of one host."""
    pip = ["-m", "pip", "--disable-pip-version-check"]
    run(environment, *pip, "uninstall", "--yes", "--quiet", *BROUGHT)
    before = frozen(run(environment, *pip, "freeze").stdout)
    began = time.monotonic()
    said = run(environment, LAUNCHER).stderr
    yield Figure(name=f"install/{host}/first_s", value=time.monotonic() - began, unit="s")
    works = not said and run(environment, "-c", IMPORTS).returncode == 0
    yield Figure.at_least(f"install/{host}/imports", float(works), "", 1)
    after = frozen(run(environment, *pip, "freeze").stdout)
    changed = sum(after.get(name) != version for name, version in before.items())
    yield Figure.at_most(f"install/{host}/pins_changed", changed, "", 0)
    quickest = min(float(run(environment, "-c", TIMED).stdout.split()[-1]) for _ in range(3))
    yield Figure.at_most(f"install/{host}/ms_when_there", quickest, "ms", MILLISECONDS)


def run(environment: Environment, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python in the project's root and capture its output."""
    command = [str(environment.python), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def frozen(lines: str) -> dict[str, str]:
    """Names and versions from ``pip freeze``."""
    pairs = (line.partition("==") for line in lines.splitlines() if "==" in line)
    return {name.lower(): version for name, _, version in pairs}


def main(argv: list[str]) -> int:
    """Print the figures; 1 if one misses its target."""
    parser = argparse.ArgumentParser(prog="bench install", description=__doc__)
    parser.add_argument("hosts", nargs="*", metavar="HOST", help=f"{', '.join(HOSTS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="one object per line")
    options = parser.parse_args(argv)
    return report(figures(options.hosts or HOSTS), as_json=options.json)
