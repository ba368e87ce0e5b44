"""The trained chain that comes with the repository, through the same code that users run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miniature import MODELS, demo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(MODELS.rglob("*.safetensors")),
        reason="the miniature's whole chain is not in this checkout yet",
    ),
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``python dev.py demo`` leaves."""
    folder = tmp_path_factory.mktemp("demo")
    assert demo.main(["--out", str(folder)]) == 0
    return folder


def test_each_person_is_more_similar_to_their_own_reference_than_other_people_are(shown: Path) -> None:
    report = json.loads((shown / "report.json").read_text())
    assert [person["name"] for person in report["people"]] == ["Anna", "Ben", "Chloe"]
    for person in report["people"]:
        assert person["similarity"] > max(person["others"], person["chance"]) + 0.1, person


def test_every_picture_that_the_report_names_is_there(shown: Path) -> None:
    report = json.loads((shown / "report.json").read_text())
    assert {"one", "two", "three", "two-routing", "interpolation", "demo"} <= set(report["pictures"])
    for name in report["pictures"].values():
        pixels = np.asarray(Image.open(shown / name))
        assert pixels.std() > 10, f"{name} is almost one colour"
