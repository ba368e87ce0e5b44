"""The miniature of SDXL end to end, as ``python dev.py bench miniature --base sdxl`` measures it."""

import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.curves import Point, draw
from benchmarks.report import Figure
from lib_uniid.methods.uniid.numbers import FEW_STEPS
from miniature.evaluation.figures import Evaluation
from miniature.evaluation.measures import Alone, Together
from miniature.evaluation.words import kept_rate
from miniature.sdxl.assemble import ROUTER

NAME = "miniature/sdxl"
ONE, TWO, THREE = (f"{NAME}/people={people}" for people in (1, 2, 3))
WORDS = ("place", "style", "smile", "age", "glasses", "hair", "shirt")
SCALES = (0.25, 0.5, 1.0, 1.5, 2.0)
CURVE_PICTURES = FEW_PICTURES = 32
FEW: Mapping[str, Any] = {"steps": 8, "cfg_scale": 2.0, "sampler": "dpmpp_2m"}
"""The base of the miniature is not distilled: in 4 steps of DDIM at CFG scale 1 it makes few faces."""
CURVE = Path(__file__).parents[1] / "docs" / "pictures" / "rescaling.png"


def figures(evaluation: Evaluation, curve: Path = CURVE) -> Iterator[Figure]:
    """All figures; ``curve`` is where similarity against words is drawn."""
    yield from _alone(evaluation)
    yield from _together(evaluation)
    yield from _few_steps(evaluation)
    yield from _curve(evaluation, curve)


def _alone(evaluation: Evaluation) -> Iterator[Figure]:
    yield Figure(name=f"{ONE}/upper_bound", value=evaluation.drawings.upper_bound(1), unit="cosine")
    both = evaluation.alone(contrary=False)
    single = {name: evaluation.alone(contrary=False, branches=name) for name in ("text", "adapter")}
    yield from _of_one(ONE, both)
    for name, alone in single.items():
        yield from _of_one(f"{ONE}/branches={name}", alone)
    better = both.similarity - max(alone.similarity for alone in single.values())
    yield Figure.at_least(f"{ONE}/both_over_either", better, "cosine", 0.0)
    real = evaluation.drawings.real_pair()
    yield Figure(name=f"{ONE}/real_pair", value=real, unit="cosine")
    yield Figure.at_most(f"{ONE}/similarity_below_real_pair", both.similarity - real, "cosine", 0.0)
    yield Figure(name=f"{NAME}/copy_paste", value=both.copy_paste, unit="M_CP")
    yield from _words(evaluation)


def _words(evaluation: Evaluation) -> Iterator[Figure]:
    plain, against = evaluation.without_people(), evaluation.alone(contrary=True)
    yield from _of_one(f"{ONE}/contrary_words", against)
    for word in WORDS:
        yield Figure(name=f"{NAME}/words/{word}/people=0", value=kept_rate(plain, word), unit="share")
        yield Figure(name=f"{NAME}/words/{word}/people=1", value=kept_rate(against.kept, word), unit="share")
    kept = kept_rate(against.kept) / max(kept_rate(plain), 1e-9)
    yield Figure.at_least(f"{NAME}/text_kept", kept, "share", 0.95)


def _few_steps(evaluation: Evaluation) -> Iterator[Figure]:
    """With the preset and with the defaults; the words also without people."""
    name = f"{NAME}/few_steps"
    plain = evaluation.without_people(FEW_PICTURES, **FEW)
    yield Figure(name=f"{name}/people=0/words", value=kept_rate(plain), unit="share")
    for label, numbers in ((name, FEW_STEPS.numbers), (f"{name}/defaults", {})):
        alone = evaluation.alone(contrary=True, pictures=FEW_PICTURES, **FEW, **numbers)
        yield Figure(name=f"{label}/similarity", value=alone.similarity, unit="cosine")
        yield Figure(name=f"{label}/words", value=kept_rate(alone.kept), unit="share")


def _of_one(name: str, alone: Alone) -> Iterator[Figure]:
    yield Figure(name=f"{name}/similarity", value=alone.similarity, unit="cosine")
    yield Figure(name=f"{name}/other_picture", value=alone.other_picture, unit="cosine")
    yield Figure(name=f"{name}/others", value=alone.others, unit="cosine")
    yield Figure(name=f"{name}/copy_paste", value=alone.copy_paste, unit="M_CP")
    yield Figure(name=f"{name}/rank1", value=alone.rank1, unit="share")
    yield Figure(name=f"{name}/one_face", value=alone.one_face, unit="share")
    yield Figure(name=f"{name}/pose_copied", value=alone.pose_copied, unit="correlation")


def _together(evaluation: Evaluation) -> Iterator[Figure]:
    two, three = evaluation.together(2), evaluation.together(3)
    yield from _of_several(TWO, two)
    yield Figure.at_least(f"{TWO}/right_person", two.right, "share", 0.85)
    with without_router(evaluation) as untrained:
        free = untrained.together(2)
    yield from _of_several(f"{TWO}/untrained", free)
    yield Figure.at_least(f"{TWO}/untrained/right_person", free.right, "share", 0.75)
    masks = evaluation.together(2, routing="mask", masks=True)
    yield from _of_several(f"{TWO}/masks", masks)
    yield Figure(name=f"{TWO}/masks/right_person", value=masks.right, unit="share")
    yield from _of_several(THREE, three)
    yield Figure.at_least(f"{THREE}/right_person", three.right, "share", 0.5)
    ordered = evaluation.together(2, order="left to right")
    yield Figure(name=f"{NAME}/order_right", value=ordered.placed, unit="share")
    own, plain = evaluation.own_words(), evaluation.own_words(people=False)
    yield Figure.at_least(f"{NAME}/own_words/right_person", own, "share", 0.9)
    yield Figure(name=f"{NAME}/own_words/one_prompt", value=plain, unit="share")


@contextmanager
def without_router(evaluation: Evaluation) -> Generator[Evaluation]:
    """The same people and pictures, in a models folder without the trained router."""
    with TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        shutil.copytree(evaluation.models, models, ignore=shutil.ignore_patterns(ROUTER, "cache", "library"))
        untrained = Evaluation(
            models, family="sdxl", pictures=evaluation.pictures, progress=evaluation.progress
        )
        untrained.guests = evaluation.guests
        yield untrained


def _of_several(name: str, together: Together) -> Iterator[Figure]:
    yield Figure(name=f"{name}/similarity", value=together.similarity, unit="cosine")
    yield Figure(name=f"{name}/other_similarity", value=together.other, unit="cosine")
    yield Figure(name=f"{name}/count_right", value=together.count_right, unit="share")
    yield Figure(name=f"{name}/confidence", value=together.confidence, unit="ID-Conf")


def _curve(evaluation: Evaluation, path: Path) -> Iterator[Figure]:
    curves: dict[str, Sequence[Point]] = {}
    for rescaling in ("on", "off"):
        points: list[Point] = []
        for scale in SCALES:
            alone = evaluation.alone(
                contrary=True, pictures=CURVE_PICTURES, rescaling=rescaling, identity_scale=scale
            )
            name = f"{ONE}/rescaling={rescaling}/scale={scale:g}"
            words = kept_rate(alone.kept)
            yield Figure(name=f"{name}/similarity", value=alone.similarity, unit="cosine")
            yield Figure(name=f"{name}/words", value=words, unit="share")
            points.append((alone.similarity, words, f"{scale:g}"))
        curves[f"rescaling {rescaling}"] = points
    draw(curves, "similarity to the reference", "share of words kept", path)
