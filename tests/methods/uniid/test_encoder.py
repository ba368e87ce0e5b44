"""Tests of UniID's ID encoder."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.encoders.encoder import FaceEncoder
from lib_uniid.encoders.iresnet import IResNet
from lib_uniid.encoders.pixels import sampled, to_tensor
from lib_uniid.faces.alignment import align, similarity
from lib_uniid.methods.uniid.encoder import R100Encoder
from lib_uniid.methods.uniid.plugin import ENCODER
from lib_uniid.models import Models
from tests import recorded_uniid as recorded
from tests.checkpoints.builders import write
from tests.methods.uniid.builders import narrow, official, recogniser

CROP_WITHIN = 1 if int(cv2.__version__.partition(".")[0]) >= 5 else 4
"""Grey levels; OpenCV 4 takes positions in steps of 1/32 of a pixel when it warps."""


def crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def encoder() -> R100Encoder:
    return R100Encoder(IResNet.from_state_dict(recogniser()))


# --- pixels ---


@pytest.mark.golden
def test_the_pixels_are_those_of_the_official_crop():
    recording = recorded.tensors("norm_crop")
    picture, landmarks = recording["in.image_bgr_u8"].numpy(), recording["in.landmarks"].numpy()
    np.testing.assert_allclose(similarity(landmarks, 112), recording["out.M"].numpy(), atol=1e-5)
    rgb = np.ascontiguousarray(picture[..., ::-1])
    pixels = sampled(to_tensor(align(rgb, landmarks)[None]), 112)
    wanted = sampled(recording["out.crop_bgr_u8"].flip(-1).permute(2, 0, 1)[None].float(), 112)
    difference = (pixels - wanted).abs() * 127.5
    assert float(difference.max()) <= CROP_WITHIN + 1e-3
    assert float((difference > 0.5).float().mean()) < (1e-3 if CROP_WITHIN == 1 else 0.06)


@pytest.mark.parametrize("size", [112, 56])
def test_the_pixels_are_those_of_a_smaller_crop(size: int):
    picture = crops(1)[0]
    landmarks = np.array([[90, 100], [130, 98], [112, 120], [95, 145], [128, 143]], np.float32)
    small = to_small(align(picture, landmarks, size))
    pixels = sampled(to_tensor(align(picture, landmarks)[None]), size)
    assert float((pixels - small).abs().max()) * 127.5 <= CROP_WITHIN + 1e-3


def to_small(crop: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 127.5 - 1


# --- features ---


def test_features_are_the_embedding_and_four_taps_per_reference(encoder: R100Encoder):
    features = encoder.encode(crops(2))
    assert {name: tuple(tensor.shape) for name, tensor in features.tensors.items()} == {
        "embedding": (2, 16),
        "tap1": (2, 8, 56, 56),
        "tap2": (2, 12, 28, 28),
        "tap3": (2, 16, 14, 14),
        "tap4": (2, 16, 7, 7),
    }
    second = encoder.encode(crops(2)[1:])
    for name, tensor in second.tensors.items():
        torch.testing.assert_close(features[name][1:], tensor, rtol=1e-4, atol=1e-5)
    assert float(features["embedding"].norm(dim=1).sub(1).abs().min()) > 1e-3  # not normalised
    assert (features.fingerprint, features.references) == (encoder.fingerprint, 2)


def test_the_null_identity_is_zeros_of_the_same_shapes(encoder: R100Encoder):
    one, null = encoder.encode(crops(1)), encoder.uncond()
    assert {name: tensor.shape for name, tensor in null.tensors.items()} == {
        name: tensor.shape for name, tensor in one.tensors.items()
    }
    assert not any(tensor.any() for tensor in null.tensors.values())
    one.require(null)


def test_the_input_size_follows_from_the_head():
    """A narrow file for 56 px has a last tap of 4 x 4."""
    shapes = {name: shape for name, shape in official("iresnet100").items() if ".num_batches" not in name}
    state = narrow(shapes, {64: 4, 128: 4, 256: 4, 512: 6, 25088: 96})
    features = R100Encoder(IResNet.from_state_dict(state)).encode(crops(1))
    assert [features[f"tap{number}"].shape[-1] for number in (1, 2, 3, 4)] == [28, 14, 7, 4]


def test_the_fingerprint_is_of_the_weights_and_not_of_their_precision_or_their_counters(encoder: R100Encoder):
    half = R100Encoder(IResNet.from_state_dict(recogniser()).half())
    assert half.fingerprint == encoder.fingerprint
    state = recogniser()
    state["bn1.num_batches_tracked"] += 5
    assert R100Encoder(IResNet.from_state_dict(state)).fingerprint == encoder.fingerprint
    state["fc.bias"] = state["fc.bias"] + 1
    assert R100Encoder(IResNet.from_state_dict(state)).fingerprint != encoder.fingerprint


def test_it_is_an_encoder_to_the_rest_of_the_program(encoder: R100Encoder):
    assert isinstance(encoder, FaceEncoder)
    assert not encoder.reads_structure


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], Models]:
    write(tmp_path / "models" / "backbone.pth", recogniser())

    def models() -> Models:
        return Models(
            folder=ModelFolder(tmp_path / "models", also=()),
            device=torch.device("cpu"),
            cache=EncodingCache(folder=tmp_path / "cache"),
            notify=lambda _: None,
        )

    return models


def test_the_plugin_opens_it_from_a_models_folder(opened: Callable[[], Models], encoder: R100Encoder):
    features = opened().encode_with(ENCODER, crops(1))
    assert features.fingerprint == encoder.fingerprint
    torch.testing.assert_close(
        features["embedding"], encoder.encode(crops(1))["embedding"], rtol=1e-4, atol=1e-5
    )


def test_what_overflows_in_half_precision_is_made_in_float32(
    opened: Callable[[], Models], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lib_uniid.models.working_precision", lambda _: torch.bfloat16)
    encode, types = R100Encoder.encode, list[torch.dtype]()

    def overflowing(self: R100Encoder, *arguments: object) -> object:
        features = encode(self, *arguments)  # pyright: ignore[reportArgumentType]
        types.append(features["embedding"].dtype)
        if len(types) == 1:
            features["embedding"].fill_(float("inf"))
        return features

    monkeypatch.setattr(R100Encoder, "encode", overflowing)
    assert opened().encode_with(ENCODER, crops(1)).finite
    assert types == [torch.bfloat16, torch.float32]
