"""The picture of the panel in ``docs/``, made in headless Chromium from the miniature's sample people.

    python -m tools.panel_picture [Python of a WebUI]

The panel runs under that Python, so it has that WebUI's gradio; without one, under this Python.
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from lib_uniid.cli import main as uniid
from miniature import MODELS, SAMPLES
from tests.ui.browser import ROOT, opened, served

PICTURE = ROOT / "docs" / "pictures" / "panel.png"
SIZE = (1280, 1400)
"""Width and height of the window in CSS pixels; the picture is cropped to the panel."""

PREFIX = "#script_txt2img_uniid_"
LIBRARY = ("Anna", "Ben", "Chloe")


def main(python: str = sys.executable) -> None:
    """Write the picture: a person of the library, and one of two faces in an uploaded picture."""
    with TemporaryDirectory() as folder:
        models, friends = Path(folder) / "models", Path(folder) / "friends.png"
        shutil.copytree(MODELS, models)
        for name in LIBRARY:
            uniid(["enrol", name, str(SAMPLES / f"{name}-1.png"), "--models", str(models)])
        _beside(SAMPLES / "Ben-2.png", SAMPLES / "David-1.png").save(friends)
        with served(python, "tests.ui.bare_host", str(models)) as address, opened(address, SIZE) as page:
            page.add_script_tag(path=ROOT / "javascript" / "uniid.js")
            _fill(page, friends)
            page.locator(f"{PREFIX}panel").screenshot(path=PICTURE)


def _beside(*files: Path) -> Image.Image:
    pictures = [Image.open(file) for file in files]
    joined = Image.new("RGB", (sum(one.width for one in pictures), pictures[0].height))
    for number, one in enumerate(pictures):
        joined.paste(one, (number * one.width, 0))
    return joined


def _fill(page: Any, upload: Path) -> None:
    page.get_by_text("UniID: people in the picture").first.click()
    page.locator(f"{PREFIX}enabled input").check()
    page.locator(f"{PREFIX}status").get_by_text("UniPortrait").wait_for()
    _write(page, "person_1_who", LIBRARY[0])
    page.locator("button[role=tab]:visible, .tab-nav > button:visible", has_text="Person 2").first.click()
    _write(page, "person_2_who", "David")
    page.locator(f"{PREFIX}person_2_files input[type=file]").set_input_files(upload)
    page.get_by_text("Face 2 of 2").locator("visible=true").first.click()
    page.get_by_text("✓ Face 2 of 2").locator("visible=true").first.wait_for()
    page.locator(f"{PREFIX}check").scroll_into_view_if_needed()
    page.mouse.move(1, 1)
    page.wait_for_timeout(2000)  # for the pictures on the tabs


def _write(page: Any, name: str, value: str) -> None:
    field = page.locator(f"{PREFIX}{name} input").first
    field.fill(value)
    field.press("Enter")
    field.press("Tab")


if __name__ == "__main__":
    main(*sys.argv[1:])
