"""The panel on the host's own page, in a browser; ``UNIID_WEBUI_PICTURE`` keeps a picture of it."""

import os
from collections.abc import Generator
from typing import Any

import pytest

from tests.hosts.webui.genuine.host import Genuine, Running, booted
from tests.ui.browser import needs_chromium, opened
from tests.ui.test_panel import Driver

pytestmark = [needs_chromium]


@pytest.fixture(scope="module")
def with_page(genuine: Genuine, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    with booted(genuine, tmp_path_factory.mktemp("page"), page=True) as running:
        yield running


@pytest.fixture
def page(with_page: Running) -> Generator[Any]:
    with opened(with_page.api.address, (1280, 1500)) as page:
        page.set_default_timeout(180_000)  # a whole WebUI loads into it, and makes pictures
        yield page


def test_a_picture_is_made_with_somebody_who_is_chosen_in_the_panel(page: Any):
    driver = Driver(page)
    page.locator("#txt2img_prompt textarea").first.fill("a person at a winter market")
    driver.switch_on()
    driver.part("status").get_by_text("2 in the library").wait_for()
    driver.choose("person_1_who", "Anna")
    driver.number("identity_scale", "1")
    page.locator("#txt2img_seed input").fill("1")
    page.wait_for_timeout(1000)  # a value that was just typed is on its way
    page.locator("#txt2img_generate").click()
    said = page.locator("#html_log_txt2img").get_by_text("UniID: picture 1:")
    said.wait_for()
    assert "Anna" in said.inner_text()
    assert "UniID: " in page.locator("#html_info_txt2img").first.inner_text()
    if kept := os.environ.get("UNIID_WEBUI_PICTURE"):
        driver.part("panel").scroll_into_view_if_needed()
        page.screenshot(path=kept)
