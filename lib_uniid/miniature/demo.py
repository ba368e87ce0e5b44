"""The demo: people from picture files into pictures of one, two and three, made with the miniature's weights.

python dev.py demo [--out DIR] [--seed N] [--prompt TEXT] [--people A.png B.png ...]
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.errors import ConfigError, UniIDError
from lib_uniid.evaluation.overlay import draw_routing
from lib_uniid.faces.picture import load_picture
from lib_uniid.hosts.diffusers import open_studio
from lib_uniid.library.store import Person
from lib_uniid.miniature import SAMPLES, trained_models
from lib_uniid.pipeline import Made, Reference, Studio

SCENE = "at a winter market"
SUBJECTS = ("", "a person", "two friends", "three friends")
SAMPLER, STEPS, CFG_SCALE, IDENTITY_SCALE, RETRIES = "dpmpp_2m", 15, 4.0, 1.0, 3
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
STRUCTURE = (0.0, 0.1, 0.3, 0.6, 1.0)
ENLARGED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One run: the studio, the people, what is asked for, and where it goes."""

    studio: Studio
    people: dict[str, Person]
    references: dict[str, np.ndarray]
    scene: str
    seed: int
    step: Callable[[], object]

    def make(
        self,
        names: Sequence[str],
        *,
        retries: int = 0,
        change: Callable[[PersonSettings], PersonSettings] = lambda p: p,
    ) -> Made:
        """One picture of the people named."""
        settings = GenerationSettings(
            prompt=f"{SUBJECTS[len(names)]} {self.scene}",
            people=tuple(change(PersonSettings(name=name)) for name in names),
            sampler=SAMPLER,
            steps=STEPS,
            cfg_scale=CFG_SCALE,
            seed=self.seed,
            identity_scale=IDENTITY_SCALE,
            retries=retries,
        )
        made = self.studio.generate(settings, self.people)[0]
        self.step()
        return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 2 with one sentence when an input cannot be used."""
    options = _parse(argv)
    try:
        report = run(options.people, options.out, options.seed, options.prompt)
    except UniIDError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    for person in report["people"]:
        print(
            f"{person['name']}: {person['similarity']:.2f} like their reference, "
            f"{person['other_similarity']:.2f} like the others (strangers: {person['chance']:.2f})"
        )
    print(f"{options.out / 'demo.png'} and {len(report['pictures']) - 1} more in {report['seconds']} s")
    return 0


def run(paths: Sequence[Path], out: Path, seed: int, scene: str) -> dict[str, Any]:
    """Make everything, then write it; the report as written to ``out/report.json``.

    Raises:
        UniIDError: a picture cannot be used, or a file of the miniature is missing.
    """
    began = time.monotonic()
    if not 2 <= len(paths) <= 8:
        raise ConfigError(
            f"the demo needs pictures of 2 to 8 people, got {len(paths)}; name one file per person"
        )
    with TemporaryDirectory() as cache, tqdm(total=len(MIXES) + len(STRUCTURE) + 3, disable=None) as bar:
        bar.set_description("demo")
        studio = open_studio(trained_models(), cache=Path(cache))
        references = dict(zip(names_of(paths), map(load_picture, paths), strict=True))
        people = {
            name: studio.enrol(name, [Reference(picture=picture, label=name, largest=True)])[0]
            for name, picture in references.items()
        }
        demo = Demo(
            studio=studio, people=people, references=references, scene=scene, seed=seed, step=bar.update
        )
        pictures, made = _pictures(demo)
    report = {
        "people": _likeness(demo, made),
        "seconds": round(time.monotonic() - began, 1),
        "pictures": {name: f"{name}.png" for name in pictures},
        "seeds": {name: one.seed for name, one in made.items()},
        "prompt": scene,
    }
    _write(out, pictures, report)
    return report


def _pictures(demo: Demo) -> tuple[dict[str, np.ndarray], dict[str, Made]]:
    """Every picture by the name of its file, and the generations behind the first three."""
    names = list(demo.people)
    titles = ("one", "two", "three")[: len(names)]
    made = {title: demo.make(names[: n + 1], retries=RETRIES) for n, title in enumerate(titles)}
    pictures = {title: one.picture for title, one in made.items()}
    for title, one in made.items():
        if one.routing is not None:
            pictures[f"{title}-routing"] = draw_routing(one.picture, one.routing)
    first, second = names[:2]
    mixed = [
        demo.make(
            [first],
            change=lambda person, share=share: replace(person, mix=((second, share),) if share else ()),
        )
        for share in MIXES
    ]
    kept = [
        demo.make([first], change=lambda person, scale=scale: replace(person, structure_scale=scale))
        for scale in STRUCTURE
    ]
    labels = [f"{share:.0%} {second}" for share in MIXES]
    pictures["interpolation"] = sheet([one.picture for one in mixed], labels)
    pictures["structure"] = sheet(
        [one.picture for one in kept], [f"structure {scale:g}" for scale in STRUCTURE]
    )
    pictures["demo"] = _front(demo, pictures)
    return pictures, made


def _front(demo: Demo, pictures: dict[str, np.ndarray]) -> np.ndarray:
    """The sheet that shows it all at a glance: references, then what was made of them."""
    shown = list(demo.references.items())[:3]
    tiles, labels = [picture for _, picture in shown], [f"{name} (reference)" for name, _ in shown]
    for title in ("one", "two", "two-routing", "three"):
        if title in pictures:
            tiles.append(pictures[title])
            labels.append({"two-routing": "who gets which place"}.get(title, f"made: {title}"))
    return sheet(tiles, labels)


def sheet(tiles: Sequence[np.ndarray], labels: Sequence[str]) -> np.ndarray:
    """Pictures side by side, enlarged, each with a line below it."""
    side, line, font = 128 * ENLARGED, 22, ImageFont.load_default(14)
    page = Image.new("RGB", (side * len(tiles), side + line), "white")
    pen = ImageDraw.Draw(page)
    for column, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        picture = Image.fromarray(tile)
        picture.thumbnail((side, side))
        page.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (column * side, 0))
        pen.text((column * side + side // 2, side + line // 2), label, fill="black", font=font, anchor="mm")
    return np.asarray(page)


def _likeness(demo: Demo, made: dict[str, Made]) -> list[dict[str, Any]]:
    """Likeness of each person to their reference, to the others in their pictures, and of strangers."""
    embeddings = {name: person.embedding for name, person in demo.people.items()}
    strangers = [float(a @ b) for one, a in embeddings.items() for two, b in embeddings.items() if one < two]
    chance = float(np.mean(strangers))
    report: list[dict[str, Any]] = []
    for name in demo.people:
        own: list[float] = []
        others: list[float] = []
        for one in made.values():
            faces = {face.number: face for face in demo.studio.models.finder.find(one.picture)}
            for person in one.presence.people:
                face = faces.get(person.face) if person.face is not None else None
                if face is None or face.embedding is None:
                    continue
                score = float(face.embedding @ embeddings[name] / np.linalg.norm(face.embedding))
                (own if person.name == name else others).append(score)
        if any(person.name == name for one in made.values() for person in one.presence.people):
            mean = {key: float(np.mean(v)) if v else 0.0 for key, v in {"own": own, "others": others}.items()}
            report.append(
                {
                    "name": name,
                    "similarity": mean["own"],
                    "other_similarity": mean["others"],
                    "chance": chance,
                }
            )
    return report


def _write(out: Path, pictures: dict[str, np.ndarray], report: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(out / f"{name}.png")
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def names_of(paths: Sequence[Path]) -> list[str]:
    """People's names from their files': ``Anna-1.png`` is Anna, a second Anna is Anna 2."""
    words = [re.split(r"[-_.\s]", path.stem)[0] or "person" for path in paths]
    counts = [words[:index].count(word) + 1 for index, word in enumerate(words)]
    return [word if count == 1 else f"{word} {count}" for word, count in zip(words, counts, strict=True)]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the pictures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prompt", default=SCENE, help="the scene, after 'two friends'")
    samples = [SAMPLES / f"{name}-1.png" for name in ("Anna", "Ben", "Chloe")]
    parser.add_argument("--people", type=Path, nargs="+", default=samples, help="one picture per person")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
