"""The demo: people from picture files into pictures of one, two and three, made with the miniature's weights.

python dev.py demo [--base sdxl] [--out DIR] [--seed N] [--prompt TEXT] [--people A.png B.png ...]
"""

import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_uniid.config import MAX_SEED, RANDOM_SEED, drawn_seed
from lib_uniid.errors import ConfigError
from lib_uniid.faces.picture import check_picture
from lib_uniid.failures import explain, sentence
from lib_uniid.fields.person import MAX_PEOPLE
from lib_uniid.files import require_writable
from lib_uniid.printing import Parser, visible
from miniature import SAMPLES, trained_models

SCENE = "at a winter market"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 2 with one sentence for an input that cannot be used, 70 for the unexpected."""
    options = _parse(argv)
    try:
        people = _checked(options)

        from miniature.showing import run  # torch and all that come with it, some seconds

        report = run(people, options.out, drawn_seed(options.seed), options.prompt, options.base)
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        print(f"demo: {explain(error, 'demo')}", file=sys.stderr)
        return 2 if sentence(error) else 70
    for person in report["people"]:
        print(visible(in_words(person)))
    if "note" in report:
        print(visible(f"demo: {report['note']}"), file=sys.stderr)
    pictures = report["pictures"]
    print(visible(f"{pictures['demo']} and {len(pictures) - 1} more in {report['seconds']} s"))
    return 0


def in_words(person: dict[str, Any]) -> str:
    """One line of the report. Whoever is missing from a picture counts: the likeness is of those found."""
    found = f"{person['name']}: found in {person['found']} of {person['pictures']} pictures"
    if not person["found"]:
        return found
    others = "" if person["others"] is None else f", {person['others']:.2f} like the others"
    return (
        f"{found}, there {person['similarity']:.2f} like their reference{others}"
        f" (unused: {person['chance']:.2f})"
    )


def names_of(paths: Sequence[Path]) -> list[str]:
    """People's names from their files': ``Anna-1.png`` is Anna, a second Anna is Anna 2."""
    words = [re.split(r"[-_.\s]", path.stem)[0] or "person" for path in paths]
    counts = [words[:index].count(word) + 1 for index, word in enumerate(words)]
    return [word if count == 1 else f"{word} {count}" for word, count in zip(words, counts, strict=True)]


def _checked(options: Namespace) -> dict[str, Path]:
    """The people's files by their names; what is wrong is said before anything is loaded."""
    count = len(options.people)
    if not 2 <= count <= MAX_PEOPLE:
        raise ConfigError(
            f"the demo needs pictures of 2 to {MAX_PEOPLE} people, got {count}; name one file per person"
        )
    if not RANDOM_SEED <= options.seed <= MAX_SEED:
        raise ConfigError(f"--seed must lie in [0, {MAX_SEED}], or be -1 to draw one, got {options.seed}")
    trained_models()
    for path in options.people:
        check_picture(path)
    require_writable(options.out)
    return dict(zip(names_of(options.people), options.people, strict=True))


def _parse(argv: Sequence[str] | None) -> Namespace:
    parser = Parser(prog="dev.py demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", choices=("sd15", "sdxl"), default="sd15", help="family of the base model")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("out/demo"),
        help="folder for the pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", default=1, help="-1 draws one (default: %(default)s)"
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        default=SCENE,
        help="the scene, after 'two friends' (default: %(default)s)",
    )
    samples = [SAMPLES / f"{name}-1.png" for name in ("Anna", "Ben", "Chloe")]
    parser.add_argument(
        "--people",
        type=Path,
        nargs="+",
        metavar="PICTURE",
        default=samples,
        help="one picture per person (default: Anna, Ben and Chloe of the miniature)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
