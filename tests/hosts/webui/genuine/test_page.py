"""The panel on the host's own page, in a browser; ``UNIID_WEBUI_PICTURE`` keeps a picture of it."""

import io
import os
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from PIL import Image

from lib_uniid.library.store import Library
from miniature import SAMPLES
from tests.hosts.webui.genuine.host import Genuine, Running, booted
from tests.ui.browser import needs_chromium, opened
from tests.ui.panel_driver import BROKEN, Driver

pytestmark = [needs_chromium]


SHOWN = "() => document.querySelector('#txt2img_gallery img')?.getAttribute('src') ?? null"


@pytest.fixture(scope="module")
def with_page(genuine: Genuine, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    with booted(genuine, tmp_path_factory.mktemp("page"), page=True) as running:
        yield running


@pytest.fixture
def panel(with_page: Running) -> Generator["Panel"]:
    with opened(with_page.api.address, (1280, 1500)) as page:
        page.set_default_timeout(180_000)  # a whole WebUI loads into it, and makes pictures
        yield Panel(page)


class Panel(Driver):
    """A person in front of the host's whole tab."""

    def __init__(self, page: Any) -> None:
        super().__init__(page)
        page.locator("#txt2img_prompt textarea").first.fill("two people at a winter market")
        page.locator("#txt2img_seed input").fill("1")
        self.switch_on()
        self.part("identity_scale_automatic").locator("input").uncheck()
        self.number("identity_scale", "1")

    def generate(self) -> str:
        """What is said about the people under the picture that is made now."""
        before = self.shown()
        self.page.wait_for_timeout(1000)  # a value that was just typed is on its way
        self.page.locator("#txt2img_generate").click()
        self.page.wait_for_function(f"before => ![null, before].includes(({SHOWN})())", arg=before)
        said = self.page.locator("#html_log_txt2img").last.get_by_text("UniID: picture 1:")
        said.wait_for()
        return said.inner_text()

    def shown(self) -> str | None:
        """Where the picture in the gallery comes from; each has a file of its own."""
        return self.page.evaluate(SHOWN)

    @property
    def infotext(self) -> str:
        return self.page.locator("#html_info_txt2img").first.inner_text()

    @property
    def picture(self) -> bytes:
        """The pixels of the picture that stands in the gallery."""
        answer = self.page.request.get(urljoin(self.page.url, self.shown() or ""))
        with Image.open(io.BytesIO(answer.body())) as picture:
            return picture.convert("RGB").tobytes()


def test_a_picture_is_made_with_a_person_selected_in_the_panel(panel: Panel):
    panel.part("status").get_by_text("2 people in the library").wait_for()
    panel.choose("person_1_who", "Anna")
    assert "Anna" in panel.generate()
    assert "UniID: " in panel.infotext


def test_an_uploaded_person_is_enrolled_and_is_in_a_picture_with_another(panel: Panel, with_page: Running):
    panel.choose("person_1_who", "Anna")
    panel.place(1, "left half")
    panel.tab(2)
    panel.upload(2, SAMPLES / "Chloe-1.png")
    panel.part("person_2_name").locator("textarea, input").fill("Chloe")
    panel.part("person_2_save").click()
    panel.part("status").get_by_text("3 people in the library").wait_for()
    panel.place(2, "right half")
    said = panel.generate()
    assert "Anna" in said
    assert "Chloe" in said
    library = Library(folder=with_page.data / "models" / "uniid" / "library")
    for name in ("Anna", "Chloe"):
        assert library.ids()[name] in panel.infotext
    assert panel.infotext.index("left half") < panel.infotext.index("right half")
    if kept := os.environ.get("UNIID_WEBUI_PICTURE"):
        panel.page.locator(".progressDiv:visible").wait_for(state="hidden")
        panel.part("panel").scroll_into_view_if_needed()
        panel.page.screenshot(path=kept)


def test_the_host_loads_the_script_that_names_faces_for_screen_readers(panel: Panel, tmp_path: Path):
    sides = [Image.open(SAMPLES / f"{name}-1.png").convert("RGB") for name in ("Anna", "Chloe")]
    both = Image.new("RGB", (sum(one.width for one in sides), sides[0].height))
    both.paste(sides[0], (0, 0))
    both.paste(sides[1], (sides[0].width, 0))
    both.save(tmp_path / "both.png")
    panel.upload(1, tmp_path / "both.png")
    named = panel.part("person_1_faces").locator(
        ".thumbnail-item[aria-label='Face 2 of 2 in both.png'][aria-pressed='false']"
    )
    named.wait_for()
    assert named.count() == 1


def test_the_panel_is_laid_out_to_be_read(panel: Panel):
    panel.place(1, "as drawn or uploaded")
    assert panel.part("panel").evaluate(BROKEN) == []
    parts = ("refresh", "status", "people", "identity_scale_automatic")
    boxes = [panel.part(name).first.bounding_box() for name in parts]  # gradio 3 gives an id twice
    for above, below in pairwise(boxes):
        assert below["y"] - above["y"] - above["height"] >= 4
    for name in ("person_1_files", "person_1_mask"):
        border = panel.part(name).evaluate("one => getComputedStyle(one).borderTopWidth")
        assert border != "0px", f"{name} is not seen to be a place to drop files on"


def test_a_mask_is_drawn_or_uploaded(panel: Panel, tmp_path: Path):
    panel.choose("person_1_who", "Anna")
    panel.generate()
    anywhere = panel.picture
    panel.place(1, "as drawn or uploaded")
    if not panel.draw(1):
        mask = Image.new("L", (128, 128))
        mask.paste(255, (0, 0, 64, 128))
        mask.save(tmp_path / "mask.png")
        panel.part("person_1_mask").locator("input[type=file]").set_input_files(tmp_path / "mask.png")
        panel.part("person_1_mask").locator("img").first.wait_for()
    panel.generate()
    assert panel.picture != anywhere
    panel.place(1, "anywhere")
    panel.generate()
    assert panel.picture == anywhere
