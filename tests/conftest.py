"""What holds for every test: no network, one thread per worker, no time limit for an example."""

import gc
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_CACHE = tempfile.TemporaryDirectory(prefix="uniid-tests-")

# Read by the libraries when they are first imported, so this has to come before any test module.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    UNIID_ALSO="",  # other programs' folders on this machine are none of a test's business
    UNIID_CACHE=_CACHE.name,
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
)

# A busy machine may stop a process for seconds, which says nothing about the code under test.
settings.register_profile("uniid", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("uniid")

# A job in the background ignores Ctrl+C, and so would every program that a test starts and ends by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the garbage collector all imported modules: looking at them again takes a sixth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder of narrow networks with random weights; tests only read it, but for its cache."""
    from tests.narrow import write_models

    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def webui_models(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a WebUI's models folder; Anna and Ben are enrolled."""
    return write_webui_models(models, tmp_path_factory.mktemp("webui") / "models")


@pytest.fixture(scope="session")
def _methods() -> dict[Any, Any]:
    return {}


@pytest.fixture
def opened_once(_methods: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests with runtimes of their own share UniPortrait's networks as long as its files stay the same."""
    from lib_uniid.checkpoints.folder import ModelFolder
    from lib_uniid.methods.uniportrait.method import UniPortrait

    really_open = UniPortrait.open

    def open_once(folder: ModelFolder, notify: Callable[[str], None]) -> UniPortrait:
        if folder.files not in _methods:
            _methods[folder.files] = really_open(folder, notify)
        return _methods[folder.files]

    monkeypatch.setattr(UniPortrait, "open", open_once)


@pytest.fixture
def own_plugins() -> Generator[None]:
    """The test may register plugins: before and after it there are none but the built-in ones."""
    from lib_uniid.plugins import plugins

    plugins.cache_clear()
    yield
    plugins.cache_clear()


@pytest.fixture
def failing_at(own_plugins: None) -> Callable[[str], str]:
    """Registers a plugin that raises in a hook; returns the beginning of the sentence that says so."""
    from lib_uniid.api import v1

    def fail() -> None:
        raise ValueError("a wrong number")

    def register(hook: str) -> str:
        v1.register(SimpleNamespace(**{hook: fail}), name="odd")
        return f"the plugin odd is switched off until restart: {hook} raised ValueError: a wrong number"

    return register


@pytest.fixture
def own_models(webui_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A WebUI's models folder of this test's own; its files are a minute old and in no cache."""
    monkeypatch.setenv("UNIID_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "models"
    shutil.copytree(webui_models, root)
    past = time.time() - 60
    for file in root.rglob("*"):
        os.utime(file, (past, past))
    return root


def write_webui_models(models: Path, root: Path) -> Path:
    """A copy of ``models`` at ``root`` in whose library are Anna and Ben."""
    shutil.copytree(models, root)
    enrol_red_faces(root)
    return root


def enrol_red_faces(root: Path) -> None:
    """Anna and Ben, drawn as the narrow detector sees faces."""
    from lib_uniid.hosts.diffusers.studio import open_studio
    from lib_uniid.library.store import Library
    from lib_uniid.pipeline import Reference
    from tests.red_faces import red_face_picture

    studio = open_studio(root, device="cpu")
    anna = red_face_picture((64, 64))
    ben = anna.copy()
    ben[50:96, 32:80] = (255, 30, 0)
    library = Library(folder=root / "uniid" / "library")
    for name, picture in (("Anna", anna), ("Ben", ben)):
        person, _ = studio.enrol(name, [Reference(picture=picture, label=name, largest=True)])
        library.save(person)
