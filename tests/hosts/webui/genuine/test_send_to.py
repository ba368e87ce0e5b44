"""*Send to img2img* and *inpaint* below the gallery take the people along, on the host's own page."""

from collections.abc import Generator
from typing import Any

import pytest

from miniature import SAMPLES
from tests.hosts.webui.genuine.host import Genuine, Running, booted
from tests.hosts.webui.genuine.test_page import Panel
from tests.ui.browser import needs_chromium, opened

pytestmark = [needs_chromium]


@pytest.fixture(scope="module")
def with_page(genuine: Genuine, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    with booted(genuine, tmp_path_factory.mktemp("page"), page=True) as running:
        yield running


@pytest.fixture
def panel(with_page: Running) -> Generator[Panel]:
    with opened(with_page.api.address, (1280, 1500)) as page:
        page.set_default_timeout(180_000)  # a whole WebUI loads into it, and makes pictures
        yield Panel(page)


def value(page: Any, name: str, inner: str) -> Any:
    """Of a control in the panel of img2img; the panels' names differ by the tab alone."""
    return page.locator(f"#script_img2img_uniid_{name}").locator(inner).first


@pytest.mark.parametrize("target", ["img2img", "inpaint"])
def test_people_travel_from_the_gallery(panel: Panel, target: str):
    page = panel.page
    panel.choose("person_1_who", "Anna")
    panel.place(1, "left half")
    panel.tab(2)
    panel.upload(2, SAMPLES / "Ben-1.png")
    panel.part("person_2_save").wait_for()  # faces were looked for
    panel.generate()
    assert not value(page, "enabled", "input").is_checked()
    page.locator(f"#txt2img_send_to_{target}").click()
    page.wait_for_function(
        "() => document.querySelector('#script_img2img_uniid_person_1_who input').value === 'Anna'"
    )
    assert value(page, "enabled", "input").is_checked()
    assert value(page, "person_1_where", "input").input_value() == "left half"
    before = page.evaluate("() => document.querySelector('#img2img_gallery img')?.src ?? null")
    page.locator("#img2img_denoising_strength input").first.fill("0.9")
    page.locator("#img2img_generate").click()
    page.wait_for_function(
        "before => ![null, before].includes(document.querySelector('#img2img_gallery img')?.src ?? null)",
        arg=before,
    )
    said = page.locator("#html_log_img2img").last.get_by_text("UniID: picture 1:")
    said.wait_for()
    assert "Anna" in said.inner_text()
    assert "person 2" in said.inner_text()
    assert "left half" in page.locator("#html_info_img2img").first.inner_text()
