"""The panel in a real page, under every gradio that is there."""

import base64
import io
import json
import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from PIL import Image

from lib_uniid.library.store import Library
from tests.hub import Hub, running
from tests.red_faces import png
from tests.ui.browser import needs_chromium, served
from tests.ui.panel_driver import BROKEN, OPTIONS, Driver, panel

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def own_models(webui_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder of these tests' own."""
    root = tmp_path_factory.mktemp("panel") / "models"
    shutil.copytree(webui_models, root)
    return root


@pytest.fixture(scope="module")
def hub() -> Generator[Hub]:
    with running() as state:
        yield state


@pytest.fixture(scope="module")
def address(own_models: Path, hub: Hub) -> Generator[str]:
    variables = {"HF_ENDPOINT": hub.address, "UNIID_OFFLINE": "0"}  # the command line's tests leave it set
    python = os.environ.get("UNIID_PANEL_PYTHON", sys.executable)  # of a WebUI, for its gradio
    with served(python, "tests.ui.bare_host", str(own_models), **variables) as address:
        yield address


@pytest.fixture
def driver(address: str) -> Generator[Driver]:
    with panel(address) as driver:
        yield driver


def test_an_enrolled_and_an_uploaded_person(driver: Driver, tmp_path: Path):
    assert driver.ask() == "off"
    driver.switch_on()
    driver.part("status").get_by_text("2 people in the library").wait_for()
    assert driver.ask().startswith("no person is selected")
    driver.choose("person_1_who", "Anna")
    driver.number("person_1_weight", "0.8")
    assert json.loads(driver.ask()) == {
        "version": 1,
        "people": [{"name": "Anna", "weight": 0.8}],
    }

    picture = png(tmp_path / "both.png", (64, 64), (190, 60))
    driver.tab(2)
    driver.upload(2, picture)
    faces = driver.part("person_2_faces").locator(".thumbnail-item")
    faces.nth(1).wait_for()
    assert faces.count() == 2
    assert driver.ask() == "person 2: both.png shows 2 faces; click the face of this person"
    faces.nth(1).click()
    driver.part("person_2_faces").get_by_text("\u2713 face 2").wait_for()
    named = driver.part("person_2_faces").get_by_role("button", name="Face 2 of 2 in both.png", exact=True)
    named.wait_for()
    assert named.get_attribute("aria-pressed") == "true"
    shown = json.loads(driver.ask())["people"][1]
    assert shown["name"] == "person 2"
    (reference,) = shown["references"]
    assert reference["face"] == 2
    assert base64.b64decode(reference["picture"]) == picture.read_bytes()


CUT = "one => one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight"


def test_the_name_of_a_face_is_read_whole(driver: Driver, tmp_path: Path):
    driver.upload(1, png(tmp_path / "a-file-with-a-long-name.png", (64, 64)))
    named = driver.part("person_1_faces").locator(".caption-label").first
    named.wait_for()
    assert not named.evaluate(CUT)


def test_labels_keep_to_one_line_in_the_column_of_a_webui(address: str):
    with panel(address, (640, 1500)) as driver:  # the panel is 574 wide, as in a window of 1280
        driver.place(1, "left half")
        assert driver.part("panel").evaluate(BROKEN) == []


def test_the_structure_scale_is_shown_only_if_it_is_used(driver: Driver):
    scale = driver.part("person_1_structure_scale")
    driver.part("person_1_weight").wait_for()
    assert not scale.is_visible()
    driver.part("person_1_structure_automatic").locator("input").uncheck()
    scale.wait_for(state="visible")


def test_no_person_is_left_out_while_faces_are_detected(driver: Driver, tmp_path: Path):
    driver.switch_on()
    driver.choose("person_1_who", "Anna")
    driver.tab(2)
    driver.upload(2, png(tmp_path / "slow.png", (64, 64)))
    driver.page.wait_for_timeout(1000)  # for the picture to arrive
    assert driver.ask().startswith("face detection in the uploaded pictures is not finished")
    driver.part("person_2_faces").locator(".thumbnail-item").first.wait_for()
    assert [one["name"] for one in json.loads(driver.ask())["people"]] == ["Anna", "person 2"]


def test_a_person_from_uploaded_pictures_is_enrolled_and_can_be_selected(
    driver: Driver, own_models: Path, tmp_path: Path
):
    library = Library(folder=own_models / "uniid" / "library")
    driver.switch_on()
    assert not driver.part("person_1_save").is_visible()
    driver.upload(1, png(tmp_path / "zoe.png", (64, 64)))
    driver.part("person_1_name").locator("textarea, input").fill("Anna")
    driver.part("person_1_save").click()
    driver.part("person_1_said").get_by_text("the library already has a person named Anna").wait_for()
    assert driver.part("person_1_add").is_visible()
    driver.part("person_1_name").locator("textarea, input").fill("Zoe")
    driver.part("person_1_save").click()
    driver.part("person_1_said").get_by_text("Zoe is in the library").wait_for()
    try:
        driver.part("status").get_by_text("3 people in the library").wait_for()
        driver.part("person_1_save").wait_for(state="hidden")
        driver.tab(2)
        driver.part("person_2_who").locator("input").first.click()
        driver.page.locator(OPTIONS, has_text="Zoe").wait_for()
        assert json.loads(driver.ask())["people"] == [{"name": "Zoe"}]
    finally:
        library.remove("Zoe")


def test_each_tab_shows_who_is_in_it(driver: Driver):
    driver.switch_on()
    driver.choose("person_1_who", "Anna")
    driver.tab(2)
    driver.choose("person_2_who", "Ben")
    driver.page.wait_for_timeout(2000)
    said = "(one) => getComputedStyle(one, '::before').content"
    shown = [driver.tab_button(f"Person {number}").evaluate(said) for number in (1, 2, 3)]
    assert ["Anna" in shown[0], "Ben" in shown[1], shown[2]] == [True, True, "none"]


def test_the_infotext_of_a_picture_fills_the_panel(driver: Driver):
    request = {
        "version": 1,
        "people": [{"name": "Anna", "weight": 0.5, "mix": [{"name": "Ben", "share": 0.25}]}, {"name": "Ben"}],
        "routing": "off",
    }
    driver.paste(request)
    assert json.loads(driver.ask()) == request


def test_a_place_is_a_region_or_drawn(driver: Driver):
    driver.switch_on()
    driver.choose("person_1_who", "Anna")
    driver.place(1, "left half")
    assert json.loads(driver.ask())["people"] == [{"name": "Anna", "region": "left half"}]
    driver.place(1, "as drawn or uploaded")
    assert driver.ask().startswith("person 1: the mask is empty")
    if not driver.draw(1):
        return
    mask = drawn(driver.ask())
    assert mask.size == (320, 320)
    assert mask.getpixel((160, 160)) == 255
    assert mask.getpixel((160, 20)) == 0


def drawn(said: str) -> Image.Image:
    """The mask of the only person who is asked for."""
    (anna,) = json.loads(said)["people"]
    with Image.open(io.BytesIO(base64.b64decode(anna["mask"]))) as mask:
        return mask.convert("L")


def test_a_mask_is_drawn_in_a_window_that_is_lower_than_the_panel(address: str):
    with panel(address, (1280, 500)) as driver:
        driver.switch_on()
        driver.choose("person_1_who", "Anna")
        driver.place(1, "as drawn or uploaded")
        if driver.draw(1):
            assert drawn(driver.ask()).getpixel((160, 160)) == 255


def test_the_list_of_regions_is_closed_once_one_is_chosen(address: str):
    with panel(address, (1280, 900)) as driver:  # where it opens upwards, gradio 3 leaves it open
        driver.switch_on()
        driver.place(1, "as drawn or uploaded")
        assert not driver.page.locator(OPTIONS).count()


def test_a_mask_that_arrives_while_it_is_folded_away_can_be_drawn_on(driver: Driver):
    half = Image.new("L", (320, 240))
    half.paste(255, (0, 0, 320, 60))
    buffer = io.BytesIO()
    half.save(buffer, format="PNG")
    mask = base64.b64encode(buffer.getvalue()).decode()
    driver.paste({"version": 1, "people": [{"name": "Anna", "mask": mask}]})
    driver.unfold(1)
    if not driver.draw(1):
        return
    shown = drawn(driver.ask())
    assert shown.size == (320, 240)
    assert [shown.getpixel((160, y)) for y in (20, 120, 220)] == [255, 255, 0]


def test_a_style_picture_is_used_and_restored_from_a_preset(driver: Driver, tmp_path: Path):
    driver.switch_on()
    driver.choose("person_1_who", "Anna")
    assert not driver.part("style").is_visible()
    driver.part("style_enabled").locator("input").check()
    assert driver.ask().startswith("the style reference has no picture")
    driver.part("style").locator("input[type=file]").set_input_files(png(tmp_path / "painting.png", (64, 64)))
    driver.part("style").locator("img").first.wait_for()
    driver.number("style_strength", "0.8")
    kept = json.loads(driver.ask())
    assert kept["style"]["strength"] == 0.8
    with (
        Image.open(io.BytesIO(base64.b64decode(kept["style"]["picture"].rpartition(",")[2]))) as taken,
        Image.open(tmp_path / "painting.png") as painting,
    ):
        assert taken.convert("RGB").tobytes() == painting.convert("RGB").tobytes()
    driver.page.get_by_text("Presets").first.click()
    driver.choose("preset", "painting")
    driver.part("preset_save").click()
    driver.part("preset_note").get_by_text("painting is saved").wait_for()
    driver.part("style_enabled").locator("input").uncheck()
    assert "style" not in json.loads(driver.ask())
    driver.part("preset_use").click()
    driver.part("preset_note").get_by_text("painting is set").wait_for()
    assert json.loads(driver.ask()) == kept


def test_people_and_settings_come_back_from_a_preset(driver: Driver):
    driver.switch_on()
    driver.choose("person_1_who", "Anna")
    driver.number("person_1_weight", "0.5")
    kept = driver.ask()
    driver.page.get_by_text("Presets").first.click()
    driver.choose("preset", "market")
    driver.part("preset_save").click()
    driver.part("preset_note").get_by_text("market is saved").wait_for()
    driver.number("person_1_weight", "1.5")
    assert driver.ask() != kept
    driver.part("preset_use").click()
    driver.part("preset_note").get_by_text("market is set").wait_for()
    assert driver.ask() == kept
    driver.part("preset_delete").click()
    driver.part("preset_note").get_by_text("market is deleted").wait_for()


def test_a_file_that_is_missing_is_named_with_its_place_and_fetched_on_the_button(
    driver: Driver, own_models: Path, hub: Hub
):
    file = own_models / "uniid" / "uniportrait-faceid_sd15.bin"
    data = file.read_bytes()
    hub.files["/Junjie96/UniPortrait/resolve/main/uniportrait-faceid_sd15.bin"] = data
    file.unlink()
    try:
        driver.part("enabled").locator("input").check()
        driver.part("status").get_by_text("Missing model files").wait_for()
        driver.part("status").get_by_text(file.name).wait_for()
        assert not driver.part("fetch").is_visible()
        driver.part("show_files").click()
        driver.part("files").get_by_text(str(file.parent)).first.wait_for()
        driver.part("fetch").click()
        driver.part("status").get_by_text("2 people in the library").wait_for()
        assert file.read_bytes() == data
    finally:
        file.write_bytes(data)
