"""The stand-alone page in a real browser, with real networks that are only narrow."""

import json
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.red_faces import png
from tests.standalone import needs_standalone_page
from tests.ui.browser import SECONDS, needs_chromium, opened, served
from tests.ui.held_page import HOLD
from tests.ui.panel_driver import OPTIONS, Driver

pytestmark = [needs_chromium, needs_standalone_page, pytest.mark.slow]


@dataclass
class Served:
    """A page and the folders behind it."""

    address: str
    models: Path
    out: Path
    hold: Path

    @contextmanager
    def held_at(self, step: int) -> Generator[None]:
        """Meanwhile generations do not go on from this step; steps count on from picture to picture."""
        self.hold.write_text(str(step), encoding="utf-8")
        try:
            yield
        finally:
            self.hold.unlink()


@pytest.fixture(scope="module")
def page_of(webui_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    root = tmp_path_factory.mktemp("page")
    models, out, hold = root / "models", root / "pictures", root / "hold"
    shutil.copytree(webui_models, models)
    arguments = ["serve", "--models", str(models), "--out", str(out), "--device", "cpu"]
    with served(sys.executable, "tests.ui.held_page", *arguments, **{HOLD: str(hold)}) as address:
        yield Served(address, models, out, hold)


class Visitor(Driver):
    """A person in front of the page."""

    prefix = "#uniid_"

    def __init__(self, page: Any, *, unfold: bool = True) -> None:
        self.page = page
        if page.url.startswith("http"):
            self.settle(unfold=unfold)

    def settle(self, *, unfold: bool = True) -> None:
        """Once the page was loaded."""
        self.part("status").get_by_text("UniPortrait").wait_for()
        for settings in ("Picture settings", "Identity settings") if unfold else ():
            self.page.get_by_text(settings).click()

    def fill(self, name: str, value: str) -> None:
        field = self.part(name).locator("textarea, input").last
        field.fill(value)
        field.press("Tab")

    def press(self, name: str) -> None:
        self.page.locator(f"#uniid_{name}").click()

    def words(self, part: str, *expected: str) -> str:
        """Wait until all of these stand there."""
        for one in expected:
            self.part(part).get_by_text(one).first.wait_for()
        return self.part(part).inner_text()


@pytest.fixture
def visitor(page_of: Served) -> Generator[Visitor]:
    with opened(page_of.address) as page:
        yield Visitor(page)


def test_a_picture_of_an_enrolled_and_an_uploaded_person(visitor: Visitor, page_of: Served, tmp_path: Path):
    visitor.words("status", "narrow", "2 people in the library")
    visitor.fill("prompt", "two friends at a winter market")
    visitor.number("steps", "2")
    visitor.number("seed", "7")
    visitor.choose("person_1_who", "Anna")
    visitor.part("show_routing").locator("input").check()
    visitor.tab(2)
    visitor.upload(2, png(tmp_path / "both.png", (64, 64), (190, 60)))
    faces = visitor.part("person_2_faces").locator(".thumbnail-item")
    faces.nth(1).wait_for()
    faces.nth(1).click()
    visitor.part("person_2_faces").get_by_text("\u2713 face 2").wait_for()
    visitor.page.get_by_role("button", name="Face 2 of 2 in both.png", exact=True).wait_for()
    visitor.press("generate")
    visitor.words("checked", "Anna", "person 2")
    assert visitor.part("gallery").locator(".thumbnail-small").count() == 2
    picture, overlay = sorted(page_of.out.glob("*.png"))
    if picture.name.endswith(".routing.png"):
        picture, overlay = overlay, picture
    with Image.open(picture) as opened_picture, Image.open(overlay) as opened_overlay:
        assert opened_picture.size == opened_overlay.size == (128, 128)
        written = str(opened_picture.info["parameters"])
    assert "Seed: 7" in written
    request = json.loads(json.loads(written.split("UniID: ")[1]))
    assert [one["id"][:9] for one in request["people"]][1] == "pictures-"


def test_a_picture_in_the_style_of_another(visitor: Visitor, page_of: Served, tmp_path: Path):
    before = set(page_of.out.glob("*.png"))
    visitor.fill("prompt", "a park")
    visitor.number("steps", "2")
    visitor.choose("person_1_who", "Anna")
    visitor.part("style_enabled").locator("input").check()
    painting = png(tmp_path / "painting.png", (64, 64))
    visitor.part("style").locator("input[type=file]").set_input_files(painting)
    visitor.part("style").locator("img").first.wait_for()
    visitor.press("generate")
    visitor.words("checked", "Anna")
    (made,) = set(page_of.out.glob("*.png")) - before
    with Image.open(made) as picture:
        assert '\\"style\\":{\\"picture\\":\\"sha256:' in str(picture.info["parameters"])


def test_an_error_is_shown_in_place_of_the_progress(visitor: Visitor):
    visitor.press("generate")
    visitor.words("words", "no person is selected")
    visitor.choose("person_1_who", "Zoe")
    visitor.fill("prompt", "a park")
    visitor.press("generate")
    assert "Zoe" in visitor.words("words", "people[0].name: no person named 'Zoe' is enrolled")


def test_a_generation_is_cancelled_and_the_next_one_is_made(visitor: Visitor, page_of: Served):
    before = set(page_of.out.glob("*"))
    visitor.fill("prompt", "a park")
    visitor.choose("person_1_who", "Ben")
    visitor.number("steps", "2")
    visitor.number("count", "4")
    with page_of.held_at(3):
        visitor.press("generate")
        visitor.words("words", "step 3")
        visitor.press("cancel")
        words = visitor.words("words", "cancelled")
    (kept,) = set(page_of.out.glob("*")) - before
    assert kept.name in words
    visitor.number("steps", "1")
    visitor.number("count", "1")
    visitor.press("generate")
    visitor.words("checked", "Ben")


def test_people_are_enrolled_renamed_deleted_and_taken_back(
    visitor: Visitor, page_of: Served, tmp_path: Path
):
    visitor.go_to("People")
    visitor.part("new_files").locator("input[type=file]").set_input_files([png(tmp_path / "c.png", (64, 64))])
    visitor.part("new_faces").locator(".thumbnail-item").first.wait_for()
    visitor.fill("new_name", "Chloe")
    visitor.press("new_save")
    visitor.words("new_said", "Chloe is in the library")
    visitor.fill("rename_to", "Clara")
    visitor.press("rename")
    visitor.words("library_words", "Chloe is renamed to Clara")
    visitor.press("delete")
    visitor.words("library_words", "Clara is deleted")
    files = [*(page_of.models / "uniid" / "library").glob("*.safetensors")]
    assert len(files) == 2
    visitor.page.reload()
    visitor.go_to("People")
    visitor.page.locator("#uniid_bin input").click()
    visitor.page.locator(OPTIONS, has_text="Clara (deleted 2").click()
    visitor.press("restore")
    visitor.words("library_words", "Clara is restored")
    visitor.go_to("Pictures")
    visitor.words("status", "3 people in the library")


@contextmanager
def generating(visitor: Visitor, page_of: Served) -> Generator[None]:
    """A generation that lasts until it is cancelled."""
    visitor.fill("prompt", "a park")
    visitor.choose("person_1_who", "Ben")
    visitor.number("steps", "9")
    with page_of.held_at(1):
        visitor.press("generate")
        visitor.words("words", "step")
        yield
        visitor.words("words", "step")
        visitor.press("cancel")
        visitor.words("words", "cancelled")


def test_a_second_tab_neither_shows_nor_ends_the_first_tabs_run_and_is_enabled_after_it(
    visitor: Visitor, page_of: Served
):
    with generating(visitor, page_of):
        other = Visitor(visitor.page.context.browser.new_page())
        other.page.set_default_timeout(SECONDS * 1000)
        other.page.goto(page_of.address)
        other.settle()
        assert not other.part("words").locator("[class*=uniid]").count()  # gradio's own clock may be in it
        assert other.page.locator("#uniid_cancel").is_disabled()
        other.fill("prompt", "a park")
        other.choose("person_1_who", "Ben")
        other.number("steps", "2")
        other.press("generate")
        other.words("words", "waiting for the generation")
    other.words("checked", "Ben")


def test_a_reload_keeps_prompt_settings_people_and_the_run(visitor: Visitor, page_of: Served, tmp_path: Path):
    visitor.tab(2)
    visitor.upload(2, png(tmp_path / "zoe.png", (64, 64)))
    visitor.part("person_2_faces").locator(".thumbnail-item").first.wait_for()
    visitor.tab(1)
    with generating(visitor, page_of):
        visitor.page.reload()
        visitor.settle()
        assert visitor.part("prompt").locator("textarea").input_value() == "a park"
        assert visitor.part("steps").locator("input").input_value() == "9"
        assert visitor.part("person_1_who").locator("input").input_value() == "Ben"
        visitor.tab(2)
        visitor.part("person_2_faces").locator(".thumbnail-item").first.wait_for()


def test_a_reload_keeps_what_was_typed_since(visitor: Visitor, page_of: Served):
    with generating(visitor, page_of):
        with visitor.page.expect_response(lambda answer: "/run/" in answer.url):
            visitor.fill("prompt", "a forest")
        with visitor.page.expect_response(lambda answer: "/run/" in answer.url):
            visitor.number("steps", "120")
        visitor.page.reload()
        visitor.settle()
        visitor.words("words", "step")
        assert visitor.part("prompt").locator("textarea").input_value() == "a forest"
        assert visitor.part("steps").locator("input").input_value() == "120"


def test_control_and_enter_generate_and_a_message_disappears_with_its_cause(visitor: Visitor):
    visitor.part("prompt").locator("textarea").press("Control+Enter")
    visitor.words("words", "no person is selected")
    visitor.choose("person_1_who", "Anna")
    assert not visitor.part("words").locator(".uniid-bad").is_visible()
    visitor.fill("prompt", "a park")
    visitor.number("steps", "151")
    visitor.part("prompt").locator("textarea").press("Control+Enter")
    visitor.words("words", "steps must lie in [1, 150], got 151")
    visitor.number("steps", "2")
    visitor.number("seed", "11")
    visitor.part("prompt").locator("textarea").press("Control+Enter")
    visitor.words("checked", "Anna")
    visitor.number("seed", "-1")
    visitor.press("reuse_seed")
    visitor.page.wait_for_function("document.querySelector('#uniid_seed input').value === '11'")
    visitor.press("generate")
    visitor.part("earlier").locator(".thumbnail-item").first.wait_for()


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_prompt_people_and_generate_are_visible_together(page_of: Served, width: int, height: int):
    with opened(page_of.address, (width, height)) as page:
        visitor = Visitor(page, unfold=False)
        visitor.choose("person_1_who", "Anna")
        for part in ("prompt", "generate", "person_1_who"):
            box = visitor.part(part).bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= height, part
        refresh = visitor.part("refresh").bounding_box()
        assert refresh["x"] + refresh["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shown = "getComputedStyle(document.querySelector('#uniid_tab_1-button'), '::before').content"
        page.wait_for_function(f"{shown}.includes('Anna')")


@pytest.mark.parametrize("size", [(1400, 900), (390, 844)])
@pytest.mark.parametrize("proportion", [("256", "128"), ("128", "256")])
def test_a_picture_that_is_not_square_is_whole(
    page_of: Served, size: tuple[int, int], proportion: tuple[str, str]
):
    with opened(page_of.address, size) as page:
        visitor = Visitor(page)
        visitor.fill("prompt", "a park")
        visitor.choose("person_1_who", "Anna")
        for name, value in zip(("steps", "width", "height"), ("1", *proportion), strict=True):
            visitor.number(name, value)
        visitor.press("generate")
        visitor.words("checked", "Anna")
        picture = visitor.part("gallery").locator(".preview img:not(.thumbnail-item img)").first
        inner, outer = picture.bounding_box(), visitor.part("gallery").bounding_box()
        assert picture.evaluate("(one) => getComputedStyle(one).objectFit") == "contain"
        for start, length, most in (("x", "width", size[0]), ("y", "height", size[1])):
            assert outer[start] <= inner[start]
            assert inner[start] + inner[length] <= outer[start] + outer[length]
            assert outer[length] <= most


def test_a_selected_picture_stays_during_the_run_and_the_next_run_shows_its_first(
    visitor: Visitor, page_of: Served
):
    small = visitor.part("gallery").locator(".thumbnail-small")
    chosen = "#uniid_gallery .thumbnail-small:nth-child({}).selected"
    visitor.fill("prompt", "a park")
    visitor.choose("person_1_who", "Anna")
    visitor.number("steps", "2")
    visitor.number("count", "4")
    with page_of.held_at(5):
        visitor.press("generate")
        small.nth(1).click()
        assert small.count() < 4
    visitor.words("checked", "picture 4: Anna")
    small.nth(3).wait_for()
    visitor.page.wait_for_timeout(500)
    assert visitor.page.locator(chosen.format(2)).count() == 1
    visitor.number("steps", "2")
    visitor.number("count", "2")
    visitor.press("generate")
    visitor.page.locator(chosen.format(1)).wait_for()


def test_a_new_picture_keeps_the_keyboard_focus_in_a_field(visitor: Visitor, page_of: Served):
    visitor.fill("prompt", "a park")
    visitor.choose("person_1_who", "Anna")
    visitor.number("steps", "2")
    with page_of.held_at(1):
        visitor.press("generate")
        visitor.words("words", "step")
        visitor.part("prompt").locator("textarea").click()
    visitor.words("checked", "Anna")
    visitor.page.wait_for_timeout(1000)
    assert visitor.page.evaluate("document.activeElement.closest('#uniid_prompt') !== null")


def test_a_list_is_closed_by_the_tab_key(visitor: Visitor):
    visitor.part("person_1_who").locator("input").first.click()
    visitor.page.locator(OPTIONS).first.wait_for()
    visitor.page.keyboard.press("Tab")
    visitor.page.locator(OPTIONS).first.wait_for(state="detached", timeout=5000)
    assert not visitor.page.locator(OPTIONS).count()


def test_hints_can_be_read_and_nothing_is_shared(visitor: Visitor):
    colours = """(one) => {
      const parse = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const light = (rgb) => rgb.map((v) => v / 255).map(
        (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
      ).reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
      let behind = one;
      while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
      const [a, b] = [getComputedStyle(one).color, getComputedStyle(behind).backgroundColor]
        .map((text) => light(parse(text))).sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    }"""
    hints = visitor.page.get_by_text("-1: random").or_(visitor.page.get_by_text("A person of the library"))
    for number in range(hints.count()):
        if hints.nth(number).is_visible():
            assert hints.nth(number).evaluate(colours) >= 4.5
    assert visitor.page.locator("[aria-label*=hare], [title*=hare]").count() == 0


def test_nothing_can_be_deleted_while_no_person_is_chosen(visitor: Visitor):
    visitor.go_to("People")
    assert visitor.part("delete").is_disabled()
    visitor.pick("known", "Anna")
    visitor.page.wait_for_function("!document.querySelector('#uniid_delete').disabled")
