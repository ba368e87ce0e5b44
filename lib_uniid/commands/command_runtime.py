"""The runtime of a command. Imports nothing heavy: ``uniid doctor`` runs without any package."""

import sys
from argparse import Namespace
from functools import partial

from lib_uniid.printing import visible
from lib_uniid.runtime import Runtime


def runtime_of(options: Namespace) -> Runtime:
    """The command's runtime, created once. It reports on standard error what it loads."""
    if "runtime" not in options:
        options.runtime = Runtime(
            options.models,
            device=partial(_device, getattr(options, "device", None)),
            notify=_loading,
            library=getattr(options, "library", None),
        )
    return options.runtime


def _device(name: str | None) -> str:
    from lib_uniid.hosts.diffusers.studio import best_device  # torch comes with it, some seconds

    return best_device(name)


def _loading(message: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"{visible(message)} ...", file=sys.stderr)
