"""Headless Chromium on this machine, and a server process that lasts as long as a test."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 180
"""How long a page may take; machines that run tests are often busy."""

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium here: apt install chromium"
)


@contextmanager
def served(python: str, module: str, *arguments: str, **more: str) -> Generator[str]:
    """Runs a module that prints its address, and ends it; ``more`` are further environment variables."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GRADIO_ANALYTICS_ENABLED": "0",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **more,
    }
    process = subprocess.Popen(
        [python, "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in iter(process.stdout.readline, ""):
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            pytest.fail(f"{module} ended with {process.wait()} before it served anything: {''.join(said)}")
        # What it says later must not fill the pipe.
        threading.Thread(target=said.extend, args=(process.stdout,), daemon=True).start()
        yield found[0]
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def opened(address: str, size: tuple[int, int] = (1280, 1600)) -> Generator[Any]:
    """A page of playwright's, which fails on errors of its scripts."""
    from playwright.sync_api import sync_playwright

    options: Sequence[str] = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(options))
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_default_timeout(SECONDS * 1000)
        page.goto(address, wait_until="domcontentloaded")
        try:
            yield page
        finally:
            browser.close()
