"""What holds for every test: no network, one thread per worker."""

import os
from pathlib import Path

import pytest

# Read by the libraries when they are first imported, so this has to come before any test module.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder of narrow networks with random weights; tests only read it, but for its cache."""
    from tests.narrow import write_models

    return write_models(tmp_path_factory.mktemp("models"))
