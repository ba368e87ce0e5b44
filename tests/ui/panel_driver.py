"""Drives the panel in a browser as a person does."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ui.browser import ROOT, opened

SCRIPT = ROOT / "javascript" / "uniid.js"
PREFIX = "#script_txt2img_uniid_"
BROKEN = """panel => [...panel.querySelectorAll("label > span")].filter(
  one => one.offsetHeight > 2 * parseFloat(getComputedStyle(one).fontSize)).map(one => one.innerText)"""
"""The panel's labels that take more than one line."""


OPTIONS = "[role=option]:visible, ul.options > li:visible"
"""What an open list offers; gradio 3 calls its options buttons."""


class Driver:
    """A person in front of the panel."""

    prefix = PREFIX

    def __init__(self, page: Any) -> None:
        self.page = page
        page.locator(f"{self.prefix}panel").wait_for()
        page.get_by_text("UniID: people in the picture").first.click()

    def part(self, name: str) -> Any:
        return self.page.locator(f"{self.prefix}{name}")

    def switch_on(self) -> None:
        self.part("enabled").locator("input").check()
        self.part("status").get_by_text("UniPortrait").wait_for()

    def choose(self, name: str, value: str) -> None:
        field = self.part(name).locator("input").first
        field.fill(value)
        field.press("Enter")
        field.press("Tab")

    def pick(self, name: str, value: str) -> None:
        """From a list that takes nothing else."""
        self.part(name).locator("input").first.click()
        self.page.locator(OPTIONS, has_text=value).first.click()

    def number(self, name: str, value: str) -> None:
        field = self.part(name).locator("input[type=number]")
        field.fill(value)
        field.press("Tab")

    def tab(self, number: int) -> None:
        self.go_to(f"Person {number}")

    def go_to(self, tab: str) -> None:
        self.tab_button(tab).click()

    def tab_button(self, tab: str) -> Any:
        # Gradio 3 gives tabs no role; later ones have further buttons, to measure their width by.
        tabs = "button[role=tab]:visible, .tab-nav > button:visible"
        return self.page.locator(tabs, has_text=tab).first

    def upload(self, number: int, *files: Path) -> None:
        self.part(f"person_{number}_files").locator("input[type=file]").set_input_files(list(files))

    def place(self, number: int, where: str) -> None:
        """Opens what says where, the first time, and picks from it."""
        if not self.part(f"person_{number}_where").is_visible():
            self.unfold(number)
        self.pick(f"person_{number}_where", where)
        # An answer that comes while a file is on its way leaves gradio 3 at "Uploading..." for good.
        self.page.wait_for_timeout(2000)

    def unfold(self, number: int) -> None:
        """Opens the region controls of a person whose tab is open."""
        self.page.get_by_text("Region, mixing, timing").locator("visible=true").first.click()
        self.part(f"person_{number}_where").wait_for()

    def paste(self, request: dict[str, Any]) -> None:
        """As from an infotext; it switches the panel on."""
        self.page.locator("#infotext textarea, #infotext input").first.fill(json.dumps(request))
        self.page.wait_for_timeout(500)
        self.page.locator("#paste").click()
        self.part("status").get_by_text("UniPortrait").wait_for()  # switching on looks at what is there

    def draw(self, number: int) -> bool:
        """Draws a line across the middle of a person's mask; false under gradio 4, which cannot draw."""
        if self.page.evaluate("window.gradio_config.version").startswith("4."):
            return False
        canvas = self.part(f"person_{number}_mask").locator("canvas:visible").last
        canvas.wait_for()
        self.page.wait_for_timeout(3000)  # it is blank, and then it is of the picture's proportions
        canvas.scroll_into_view_if_needed()  # the mouse goes to places of the window, also outside of it
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x - 40, y)
        self.page.mouse.down()
        self.page.mouse.move(x + 40, y, steps=5)
        self.page.mouse.up()
        return True

    def ask(self) -> str:
        """What the panel asks for now."""
        answer = self.page.locator("#answer textarea, #answer input").first
        before = answer.input_value()
        self.page.wait_for_timeout(700)  # a value that was just typed is on its way
        self.page.locator("#ask").dispatch_event("click")  # an open list may lie above it
        self.page.wait_for_function(
            "([field, before]) => field.value && field.value !== before",
            arg=[answer.element_handle(), before],
        )
        return answer.input_value()


@contextmanager
def panel(address: str, *size: tuple[int, int]) -> Generator[Driver]:
    """The panel with all scripts of the extension, which a WebUI loads into its page."""
    with opened(address, *size) as page:
        page.add_script_tag(path=SCRIPT)
        yield Driver(page)
