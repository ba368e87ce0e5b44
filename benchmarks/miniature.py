"""The miniature end to end: likeness, assignment of people, prompt adherence. About 40 minutes on two cores.

python dev.py bench miniature [--base sd15] [--json] [--pictures 96] [--models DIR]

With ``--base sdxl`` it takes some hours, and draws ``docs/pictures/rescaling.png``.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import miniature_xl
from benchmarks.report import Figure, report
from lib_uniid.errors import UniIDError
from miniature.evaluation.figures import FAMILIES, Evaluation
from miniature.evaluation.words import kept_rate
from miniature.recipes.meter import LOOKS

CURVE = (0.0, 0.1, 0.3, 0.6, 1.0)
CURVE_PICTURES = 32
NAME = "miniature/sd15"


def main(argv: list[str]) -> int:
    """Run the suite; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", choices=FAMILIES, default="sd15")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--models", type=Path, help="models folder (default: the miniature's)")
    options = parser.parse_args(argv)
    try:
        evaluation = Evaluation(
            options.models, family=options.base, pictures=options.pictures, progress=_progress
        )
    except UniIDError as error:
        print(f"bench miniature: {error}", file=sys.stderr)
        return 2
    measured = figures(evaluation) if options.base == "sd15" else miniature_xl.figures(evaluation)
    return report(measured, as_json=options.json)


def figures(evaluation: Evaluation) -> Iterator[Figure]:
    """All figures of the suite, the quickest first."""
    yield Figure.at_least(
        "miniature/recogniser/verification", evaluation.drawings.verification(), "share", 0.99
    )
    yield from _meters(evaluation)
    yield from _alone(evaluation)
    yield from _together(evaluation)
    yield from _curve(evaluation)


def _meters(evaluation: Evaluation) -> Iterator[Figure]:
    for way, through_vae in (("drawn", False), ("through_vae", True)):
        for name, value in evaluation.drawings.meter_quality(through_vae=through_vae).items():
            unit = "R2" if name in LOOKS else "share"
            yield Figure(name=f"miniature/meters/{way}/{name}", value=value, unit=unit)


def _alone(evaluation: Evaluation) -> Iterator[Figure]:
    bound, alone = evaluation.drawings.upper_bound(1), evaluation.alone(contrary=False)
    against, plain = evaluation.alone(contrary=True), evaluation.without_people()
    name = f"{NAME}/people=1"
    yield Figure(name=f"{name}/upper_bound", value=bound, unit="cosine")
    yield Figure(name=f"{name}/similarity", value=alone.similarity, unit="cosine")
    yield Figure(name=f"{name}/other_similarity", value=alone.others, unit="cosine")
    yield Figure.at_least(f"{name}/similarity_share", alone.similarity / bound, "share", 0.75)
    yield Figure.at_least(f"{name}/rank1", alone.rank1, "share", 0.70)
    yield Figure(name=f"{name}/contrary_words/similarity", value=against.similarity, unit="cosine")
    yield Figure(name=f"{name}/contrary_words/rank1", value=against.rank1, unit="share")
    for word in ("place", "style", "smile", "age", "glasses", "hair", "shirt"):
        yield Figure(name=f"{NAME}/words/{word}/people=0", value=kept_rate(plain, word), unit="share")
        yield Figure(name=f"{NAME}/words/{word}/people=1", value=kept_rate(against.kept, word), unit="share")
    kept = kept_rate(against.kept) / max(kept_rate(plain), 1e-9)
    yield Figure.at_least(f"{NAME}/text_kept", kept, "share", 0.90)


def _together(evaluation: Evaluation) -> Iterator[Figure]:
    bound = evaluation.drawings.upper_bound(2)
    router = evaluation.together(2)
    masks = evaluation.together(2, routing="mask", masks=True)
    mean = evaluation.together(2, routing="off")
    name = f"{NAME}/people=2"
    yield Figure(name=f"{name}/upper_bound", value=bound, unit="cosine")
    yield Figure.at_least(f"{name}/similarity_share", router.similarity / bound, "share", 0.60)
    yield Figure(name=f"{name}/other_similarity", value=router.other, unit="cosine")
    yield Figure.at_least(f"{name}/right_person", router.right, "share", 0.85)
    yield Figure(name=f"{name}/masks/right_person", value=masks.right, unit="share")
    yield Figure.at_least(f"{name}/router_of_masks", router.right / max(masks.right, 1e-9), "share", 0.9)
    yield Figure.at_most(f"{name}/mean_of_both/right_person", mean.right, "share", router.right / 2)
    own, plain = evaluation.own_words(), evaluation.own_words(people=False)
    yield Figure.at_least("miniature/own_words/right_person", own, "share", 0.9)
    yield Figure(name="miniature/own_words/one_prompt", value=plain, unit="share")
    three = evaluation.together(3)
    yield Figure(name=f"{NAME}/people=3/similarity", value=three.similarity, unit="cosine")
    yield Figure(name=f"{NAME}/people=3/right_person", value=three.right, unit="share")


def _curve(evaluation: Evaluation) -> Iterator[Figure]:
    for scale in CURVE:
        alone = evaluation.alone(contrary=True, structure_scale=scale, pictures=CURVE_PICTURES)
        name = f"{NAME}/people=1/structure_scale={scale:g}"
        yield Figure(name=f"{name}/similarity", value=alone.similarity, unit="cosine")
        yield Figure(name=f"{name}/words", value=kept_rate(alone.kept), unit="share")


def _progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{what}: {done + 1}/{total}   ")
