"""What several commands need."""

import re
import sys
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib_uniid.faces.picture import check_picture, load_picture
from lib_uniid.faces.seen import SeenFace
from lib_uniid.hosts.diffusers import open_studio
from lib_uniid.hosts.protocol import Progress
from lib_uniid.library.store import PeopleFolder
from lib_uniid.pipeline import Reference, Studio


def studio(options: Namespace) -> Studio:
    """The studio of the models folder; says on standard error what it loads."""
    return open_studio(
        options.models,
        base=getattr(options, "base", None),
        device=getattr(options, "device", None),
        notify=lambda message: tqdm.write(f"{message} ...", file=sys.stderr),
    )


def library(options: Namespace) -> PeopleFolder:
    """The enrolled people."""
    return PeopleFolder(folder=options.library or options.models / "uniid" / "library")


def reference(
    argument: str,
    *,
    number: int | None = None,
    point: tuple[float, float] | None = None,
    largest: bool = False,
) -> Reference:
    """``FILE``, or ``FILE#2`` whose number wins over the choice made for all pictures."""
    path = Path(argument)
    numbered = re.fullmatch(r"(.+)#(\d+)", argument)
    if numbered and not path.exists():
        path, number, point, largest = Path(numbered[1]), int(numbered[2]), None, False
    check_picture(path)
    picture = partial(load_picture, path)
    return Reference(picture=picture, label=path.name, number=number, point=point, largest=largest)


@contextmanager
def bar(title: str) -> Generator[Progress]:
    """A progress bar on standard error, where somebody is watching."""
    with tqdm(desc=title, file=sys.stderr, disable=None, leave=False) as shown:

        def progress(step: int, steps: int) -> None:
            shown.total, shown.n = steps, step
            shown.refresh()

        yield progress


def face_result(seen: SeenFace) -> dict[str, Any]:
    """A face in pixels of its picture."""
    return {
        "number": seen.face.number,
        "box": [round(side, 1) for side in seen.face.box],
        "score": round(seen.face.score, 3),
        "sharpness": round(seen.quality.sharpness, 3),
        "yaw": round(seen.quality.yaw, 1),
        "advice": list(seen.quality.advice),
    }
