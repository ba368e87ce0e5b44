"""What the demo makes: pictures of one, two and three people, of two people mixed, and a report.

The structure scale is not shown. On the miniature it changes hair and outline a little, from 0 to 2, and
carries no expression over: with a smiling and a frowning reference the mouths stay as they are without it.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.evaluation.overlay import draw_routing
from lib_uniid.faces.picture import load_picture
from lib_uniid.failures import explain
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Identity
from lib_uniid.pipeline import GeneratedPicture, Reference, Studio
from miniature import trained_models
from miniature.checkpoints import CHECKPOINTS, SDXL_SETTINGS

SUBJECTS = ("", "a person", "two friends", "three friends")
SAMPLER, STEPS, CFG_SCALE, RETRIES = "dpmpp_2m", 15, 4.0, 3
SETTINGS: Mapping[str, Mapping[str, Any]] = {"sd15": {"identity_scale": 1.0}, "sdxl": SDXL_SETTINGS}
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
ENLARGED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One run: the studio, the people, what is asked for, and where it goes."""

    studio: Studio
    people: dict[str, Identity]
    references: dict[str, np.ndarray]
    scene: str
    seed: int
    base: str
    step: Callable[[], object]

    def make(
        self,
        names: Sequence[str],
        *,
        retries: int = 0,
        change: Callable[[PersonSettings], PersonSettings] = lambda p: p,
    ) -> GeneratedPicture:
        """One picture of the people named."""
        settings = GenerationSettings(
            prompt=f"{SUBJECTS[len(names)]} {self.scene}",
            people=tuple(change(PersonSettings(name=name)) for name in names),
            sampler=SAMPLER,
            steps=STEPS,
            cfg_scale=CFG_SCALE,
            seed=self.seed,
            retries=retries,
            **SETTINGS[self.base],
        )
        made = self.studio.generate(settings, self.people)[0]
        self.step()
        return made


def run(files: Mapping[str, Path], out: Path, seed: int, scene: str, base: str = "sd15") -> dict[str, Any]:
    """Make everything of the people in ``files``, then write it; the report as written to ``report.json``.

    ``base`` is the family of the base model, a name of :data:`CHECKPOINTS`.

    Raises:
        UniIDError: a picture cannot be used, or a file of the miniature is missing.
    """
    began = time.monotonic()
    shown = len(MIXES) + min(3, len(files))
    with TemporaryDirectory() as cache, tqdm(total=shown, disable=None) as bar:
        bar.set_description("demo")
        models = trained_models()
        studio = open_studio(models, base=CHECKPOINTS[base](models), cache=Path(cache))
        references = {name: load_picture(path) for name, path in files.items()}
        demo = Demo(
            studio=studio,
            people={name: enrolled(studio, name, picture) for name, picture in references.items()},
            references=references,
            scene=scene,
            seed=seed,
            base=base,
            step=bar.update,
        )
        pictures, made = _pictures(demo)
    report: dict[str, Any] = {
        "people": likeness(
            {name: person.embedding for name, person in demo.people.items()},
            [_seen(studio, one) for one in made.values()],
        ),
        "seconds": round(time.monotonic() - began, 1),
        "seeds": {name: one.seed for name, one in made.items()},
        "prompt": scene,
    }
    return written(out, pictures, report)


def enrolled(studio: Studio, name: str, picture: np.ndarray) -> Identity:
    """The largest face of a picture, under a name, for the method that works with the base model."""
    reference = Reference(picture=picture, label=name, largest=True)
    return studio.enrol(name, [reference], method=studio.method_for(None))[0]


def _pictures(demo: Demo) -> tuple[dict[str, np.ndarray], dict[str, GeneratedPicture]]:
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
    labels = [f"{share:.0%} {second}" for share in MIXES]
    pictures["interpolation"] = sheet([one.picture for one in mixed], labels)
    pictures["demo"] = _front(demo, pictures, made)
    return pictures, made


def _front(demo: Demo, pictures: dict[str, np.ndarray], made: Mapping[str, GeneratedPicture]) -> np.ndarray:
    """The sheet that shows it all at a glance: references, then what was made of them."""
    shown = list(demo.references.items())[:3]
    tiles, labels = [picture for _, picture in shown], [f"{name} (reference)" for name, _ in shown]
    for title in ("one", "two", "two-routing", "three"):
        if title in pictures:
            tiles.append(pictures[title])
            missing = made[title].presence.missing if title in made else ()
            labels.append(caption(title, missing))
    return sheet(tiles, labels)


def caption(title: str, missing: Sequence[str]) -> str:
    """What is said below a picture; whoever is not in it is named."""
    if title.endswith("-routing"):
        return "who gets which place"
    return f"made: {title}" + (f", {' and '.join(missing)} missing" if missing else "")


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


Seen = Mapping[str, np.ndarray | None]
"""The people asked for in a picture, with the ID embeddings of their faces there; None for a missing one."""


def likeness(references: Mapping[str, np.ndarray], pictures: Sequence[Seen]) -> list[dict[str, Any]]:
    """For each person: in how many pictures they were asked for and found, and how like they are there.

    ``similarity`` to their reference is the mean over the pictures in which the person was found, ``others``
    that of the others' faces in the same pictures, ``chance`` that of two references; None without any.
    """
    pairs = [(a, b) for one, a in references.items() for two, b in references.items() if one < two]
    report: list[dict[str, Any]] = []
    for name, own in references.items():
        asked = [seen for seen in pictures if name in seen]
        faces = [(who, face) for seen in asked for who, face in seen.items() if face is not None]
        similar = [(own, face) for who, face in faces if who == name]
        numbers = {
            "similarity": _mean_similarity(similar),
            "others": _mean_similarity([(own, face) for who, face in faces if who != name]),
            "chance": _mean_similarity(pairs),
        }
        if asked:
            report.append({"name": name, "pictures": len(asked), "found": len(similar), **numbers})
    return report


def _mean_similarity(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    similar = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs]
    return float(np.mean(similar)) if similar else None


def _seen(studio: Studio, made: GeneratedPicture) -> Seen:
    faces = {face.number: face.embedding for face in studio.finder.find(made.picture)}
    return {person.name: faces.get(person.face or 0) for person in made.presence.people}


def written(out: Path, pictures: Mapping[str, np.ndarray], report: dict[str, Any]) -> dict[str, Any]:
    """Write everything; into a temporary folder, with the reason on the console, where ``out`` was lost."""
    try:
        return _write(out, pictures, report)
    except OSError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="uniid-demo-"))
        return _write(elsewhere, pictures, {**report, "note": f"{explain(error)}; written to {elsewhere}"})


def _write(out: Path, pictures: Mapping[str, np.ndarray], report: dict[str, Any]) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(out / f"{name}.png")
    report = {**report, "pictures": {name: str(out / f"{name}.png") for name in pictures}}
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report
