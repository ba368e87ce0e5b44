"""The networks of a models folder: where they work, and when."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.encoders.identity import IDEncoder
from lib_uniid.models import Models, working_precision
from tests.device import DEVICE


def crops(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def networks(models: Path, tmp_path: Path, told: list[str]) -> Models:
    @contextmanager
    def room() -> Generator[None]:
        told.append("room")
        yield
        told.append("given back")

    return Models(
        folder=ModelFolder(models),
        device=torch.device(DEVICE),
        cache=EncodingCache(folder=tmp_path / "cache"),
        notify=lambda _: None,
        room=room,
    )


def test_device_memory_is_requested_only_for_uncached_encodings(networks: Models, told: list[str]):
    first = networks.encode(crops(0))
    assert told == ["room", "given back"]
    again = networks.encode(crops(0))
    assert told == ["room", "given back"]
    assert torch.equal(first["intrinsic"], again["intrinsic"])
    networks.encode(crops(1))
    assert told == ["room", "given back"] * 2


def test_room_is_given_back_after_an_error(
    networks: Models, told: list[str], monkeypatch: pytest.MonkeyPatch
):
    @contextmanager
    def room() -> Generator[None]:
        try:
            yield
        finally:
            told.append("given back")

    object.__setattr__(networks, "room", room)

    def fail(*_: object) -> IDFeatures:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(IDEncoder, "encode", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        networks.encode(crops(0))
    assert told == ["given back"]


def test_encoders_work_in_half_precision_on_gpus_and_in_float32_on_the_processor():
    assert {working_precision(torch.device(name)) for name in ("cuda:1", "mps", "xpu")} == {torch.float16}
    assert working_precision(torch.device("cpu")) == torch.float32


def test_features_are_brought_to_the_cpu_from_wherever_they_were_made():
    """The resampler reads on the CPU, wherever the encoders work; the meta device refuses the copy."""
    elsewhere = torch.empty(4, 8, device="meta", dtype=torch.float16)
    for tensors in ({"a": elsewhere}, {"a": torch.empty(4, 8), "b": elsewhere}):
        features = IDFeatures(tensors=tensors, fingerprint="f", references=1)
        with pytest.raises(NotImplementedError, match="meta tensor"):
            features.to_cpu()


def test_encodings_and_the_null_identity_are_on_the_cpu_in_float32(networks: Models):
    for features in (
        networks.encode(crops(2)),
        networks.null_identity(networks.encode(crops(2))),
    ):
        for part in (features["intrinsic"], features["structure"]):
            assert (part.device.type, part.dtype) == ("cpu", torch.float32)


def test_features_made_in_half_precision_are_the_same_to_within_it(
    networks: Models, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = networks.encode(crops(0))
    monkeypatch.setattr(
        "lib_uniid.models.working_precision", lambda _: torch.bfloat16
    )  # the processor's half
    half = Models(
        folder=ModelFolder(models),
        device=torch.device(DEVICE),
        cache=EncodingCache(folder=tmp_path / "half"),
        notify=lambda _: None,
    ).encode(crops(0))
    assert half["intrinsic"].dtype == torch.float32
    difference = (half["intrinsic"] - whole["intrinsic"]).norm() / whole["intrinsic"].norm()
    assert 0.0 < difference < 0.03
    assert half.fingerprint.split("+")[0] != ""


def test_what_overflows_in_half_precision_is_made_in_float32(
    networks: Models, monkeypatch: pytest.MonkeyPatch
):
    encode, tried = IDEncoder.encode, []

    def overflowing(self: IDEncoder, *arguments: object) -> IDFeatures:
        features = encode(self, *arguments)  # pyright: ignore[reportArgumentType]
        tried.append(features)
        if len(tried) == 1:
            features["intrinsic"].fill_(float("inf"))
        return features

    monkeypatch.setattr(IDEncoder, "encode", overflowing)
    assert networks.encode(crops(0)).finite
    assert len(tried) == 2
