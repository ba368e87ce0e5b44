"""A genuine WebUI per run of the tests, where one is named; without one everything here is skipped."""

import os
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from miniature import MODELS
from tests.hosts.webui.genuine.beside import write_beside
from tests.hosts.webui.genuine.flat import write_flat_models
from tests.hosts.webui.genuine.host import Genuine, Running, booted
from tests.hosts.webui.genuine.people import with_people


@pytest.fixture(scope="session")
def named() -> Genuine:
    """The host that the environment names, with the miniature's models or those that it names."""
    folder = os.environ.get("UNIID_WEBUI")
    if not folder:
        pytest.skip("name a WebUI's folder in UNIID_WEBUI, and its python in UNIID_WEBUI_PYTHON, to run this")
    python = os.environ.get("UNIID_WEBUI_PYTHON") or str(Path(folder) / "venv" / "bin" / "python")
    given = Path(os.environ.get("UNIID_WEBUI_MODELS") or MODELS)
    if not any(given.glob("Stable-diffusion/*.safetensors")):
        pytest.skip("no checkpoint for the WebUI: name an assembled model folder in UNIID_WEBUI_MODELS")
    return Genuine(folder=Path(folder).absolute(), python=Path(python).absolute(), models=given)


@pytest.fixture(scope="session")
def genuine(named: Genuine, tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    """With models that it can load, and people in its library."""
    made, given = tmp_path_factory.mktemp("models"), named.models
    if named.kind != "a1111":
        given = write_flat_models(given, made / "flat")
    models = with_people(given, made / "models")
    write_beside(models)
    return replace(named, models=models)


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """A line among the results: figures are worth more than a dot."""
    reporter: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")

    def show(line: str) -> None:
        with capture.global_and_fixture_disabled():  # else it is captured, and lost where the test passes
            reporter.write_line(f"\n{line}")

    return show


@pytest.fixture(scope="session")
def webui(
    genuine: Genuine, tmp_path_factory: pytest.TempPathFactory, tell: Callable[[str], None]
) -> Generator[Running]:
    """With the extension."""
    with booted(genuine, tmp_path_factory.mktemp("with")) as running:
        versions = running.api.get("/uniid-probe/versions").body
        tell(f"{running.kind}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
        yield running
        assert "UniID failed" not in running.log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bare(genuine: Genuine, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """Without it."""
    with booted(genuine, tmp_path_factory.mktemp("without"), extension=False) as running:
        yield running
