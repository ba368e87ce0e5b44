"""Train the whole miniature: every recipe in its order, skipping finished ones, resuming the last.

python -m miniature.recipes [--out runs/miniature] [--processes 2] [--only NAME ...]
"""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from miniature.recipes.kept import kept_export, kept_result

PACKAGE = "miniature.recipes"


@dataclass(frozen=True, slots=True)
class Stage:
    """One recipe: the module, its arguments, and the file by which it is known to be done."""

    name: str
    arguments: tuple[str, ...]
    result: str


STAGES = (
    Stage("vae", (), "vae.pt"),
    Stage("detector", (), "detector.pt"),
    Stage("clip", (), "clip.pt"),
    Stage("recogniser", ("judge",), "judge.pt"),
    Stage("recogniser", ("curricularface",), "curricularface.pt"),
    Stage("meter", (), "meters.pt"),
    Stage("data", (), "pictures.pt"),
    Stage("base", (), "base.pt"),
    Stage("features", (), "features-0.pt"),
    Stage("identity", (), "identity.pt"),
    Stage("router", (), "router.pt"),
    Stage("router", ("--weight", "0", "--name", "router-unsupervised"), "router-unsupervised.pt"),
)


def take(name: str, result: Path) -> bool:
    """Use a result that came with the repository, if it did; kept in half precision, it goes on in full.

    Of the face models the exported file came, and is copied to the place of the result.
    """
    if (exported := kept_export(name)) is not None:
        shutil.copyfile(exported, result.with_suffix(exported.suffix))
        return True
    state = kept_result(name)
    if state is not None:
        torch.save({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, result)
    return state is not None


def main() -> int:
    """Run what is left; the exit code is that of the first recipe that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="results, such as vae or router")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        result = options.out / stage.result
        if result.exists() or (options.only and result.stem not in options.only):
            continue
        if take(result.stem, result):
            continue
        sys.stderr.write(f"{stage.name} {' '.join(stage.arguments)}\n")
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={options.processes}", "-m"]
        command = [sys.executable, "-m", *launcher, f"{PACKAGE}.{stage.name}", *stage.arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        code = subprocess.call([*command, "--out", str(options.out)], env=environment)
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
