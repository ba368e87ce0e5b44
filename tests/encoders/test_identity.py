"""Tests of ID features, and their parity with the official encoding."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lib_uniid.encoders.clip_vision import ClipVision
from lib_uniid.encoders.curricularface import CurricularFace
from lib_uniid.encoders.identity import IDEncoder
from lib_uniid.encoders.pixels import for_clip, for_recogniser, to_tensor
from lib_uniid.errors import ConfigError, EncoderMismatchError, MissingModelError
from miniature import MODELS
from tests import recorded
from tests.encoders.builders import narrow_backbone, narrow_clip


def assert_close(actual: Tensor | None, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


RECORDED = recorded.tensors("id_embedding_full")


def crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def official() -> IDEncoder:
    shapes = {name: shape for name, (shape, _) in recorded.notes("curricularface_ir101_keys")["keys"].items()}
    backbone = CurricularFace.from_state_dict(recorded.filled_state(shapes, seed=41, gain=0.6))
    clip = recorded.filled_state(recorded.notes("clip_tiny_keys"), seed=41, prefix="clip.")
    return IDEncoder(backbone, ClipVision.from_state_dict(clip))


@pytest.fixture(scope="module")
def narrow() -> IDEncoder:
    return IDEncoder(narrow_backbone(), narrow_clip())


# --- parity ---


@pytest.mark.golden
def test_the_features_are_the_official_ones(official: IDEncoder):
    features = official.encode(RECORDED["in.image0"].numpy()[None])
    shallow, clip = features["structure"].split([448, 1280], dim=1)
    torch.testing.assert_close(features["intrinsic"], RECORDED["mid.intrinsic_1x49x512"][0])
    assert_close(shallow[:, ::8], RECORDED["mid.structure_face_ch0_448_step8_1x256x56"][0])
    assert_close(clip[:, ::16], RECORDED["mid.structure_clip_ch_step16"][0])


@pytest.mark.golden
def test_the_null_identity_is_the_official_uncond(official: IDEncoder):
    null = official.uncond()
    shallow, clip = null["structure"].split([448, 1280], dim=1)
    assert null["intrinsic"].shape == (49, 512)
    assert not null["intrinsic"].any()
    assert not shallow.any()
    assert_close(clip[:, ::16], RECORDED["mid.uncond_structure_clip_ch_step16"][0])


@pytest.mark.golden
def test_the_recogniser_sees_the_official_pixels():
    pixels = for_recogniser(to_tensor(RECORDED["in.image0"].numpy()[None]), 112)
    torch.testing.assert_close(pixels[0, 0], RECORDED["mid.facerecog_input_ch0"], rtol=0, atol=1e-6)


# --- pixels ---


def test_clip_s_pixels_follow_the_formula():
    crop = np.zeros((1, 224, 224, 3), dtype=np.uint8)
    crop[..., 1] = 255
    pixels = for_clip(to_tensor(crop), 224)[0, :, 0, 0]
    expected = [-0.48145466 / 0.26862954, (1 - 0.4578275) / 0.26130258, -0.40821073 / 0.27577711]
    torch.testing.assert_close(pixels, torch.tensor(expected))


def test_a_crop_of_another_size_is_refused():
    with pytest.raises(ConfigError, match="got 112 x 100"):
        to_tensor(np.zeros((1, 100, 112, 3), dtype=np.uint8))


# --- laws ---


def test_references_follow_one_another_as_tokens(narrow: IDEncoder):
    both = crops(2)
    together, first, second = narrow.encode(both), narrow.encode(both[:1]), narrow.encode(both[1:])
    assert together.references == 2
    torch.testing.assert_close(together["intrinsic"], torch.cat([first["intrinsic"], second["intrinsic"]]))
    torch.testing.assert_close(together["structure"], torch.cat([first["structure"], second["structure"]]))


def test_structure_has_the_grid_of_clip_and_shallow_channels_first(narrow: IDEncoder):
    crop = crops(1)
    structure = narrow.encode(crop)["structure"]
    assert structure.shape == (16, 4 + 6 + 8 + 32)
    pixels = for_recogniser(to_tensor(crop), 56)
    # The 28-px tap on a 4 x 4 grid: bilinear without antialiasing reads the four middle values of each 7 x 7.
    fine = narrow.backbone(pixels)[0][0]
    torch.testing.assert_close(structure[0, :4], fine[:, 3, 3], rtol=0, atol=1e-5)


def test_without_structure_clip_is_neither_needed_nor_run():
    encoder = IDEncoder(narrow_backbone(), None)
    assert encoder.encode(crops(1), structure=False).get("structure") is None
    assert encoder.uncond(structure=False).get("structure") is None


def test_structure_without_clip_is_refused():
    with pytest.raises(MissingModelError, match="structure scale"):
        IDEncoder(narrow_backbone(), None).encode(crops(1))


def test_the_null_identity_has_the_tokens_of_one_reference_and_is_made_once(narrow: IDEncoder):
    one, null = narrow.encode(crops(1)), narrow.uncond()
    assert null["intrinsic"].shape == one["intrinsic"].shape
    assert null["structure"].shape == one["structure"].shape
    assert narrow.uncond() is null


def test_features_can_enter_training(narrow: IDEncoder):
    weight = torch.ones(10, requires_grad=True)
    (narrow.encode(crops(1))["intrinsic"] * weight).sum().backward()
    assert weight.grad is not None


# --- fingerprints ---


def test_people_enrolled_by_earlier_versions_stay_usable():
    """Their fingerprints were made over open_clip's module; this is the one of the miniature's encoders."""
    folder = MODELS / "uniid"
    clip = ClipVision.from_state_dict(
        load_file(folder / "image_encoder" / "model.safetensors"),
        json.loads((folder / "image_encoder" / "config.json").read_text(encoding="utf-8")),
    )
    backbone = CurricularFace.from_state_dict(load_file(folder / "curricular_face_backbone.safetensors"))
    assert IDEncoder(backbone, clip).fingerprint == "547f7d650d53+f4ae3a1687b3"


def test_other_weights_have_another_fingerprint():
    encoders = [IDEncoder(narrow_backbone(a), narrow_clip(b)) for a, b in ((0, 0), (1, 0), (0, 1))]
    assert len({encoder.fingerprint for encoder in encoders}) == 3


def test_a_half_precision_copy_has_the_same_fingerprint(narrow: IDEncoder):
    copy = IDEncoder(narrow_backbone().half(), narrow_clip().half())
    assert copy.fingerprint == narrow.fingerprint


def test_the_unused_head_is_no_part_of_the_fingerprint(narrow: IDEncoder):
    assert IDEncoder(narrow_backbone(head=True), narrow_clip()).fingerprint == narrow.fingerprint


def test_features_of_another_encoder_are_refused(narrow: IDEncoder):
    features = IDEncoder(narrow_backbone(seed=1), narrow_clip()).encode(crops(1))
    with pytest.raises(EncoderMismatchError, match="enrol the person again"):
        narrow.encode(crops(1)).require(features)


def test_features_without_structure_do_not_care_for_clip(narrow: IDEncoder):
    alone = IDEncoder(narrow_backbone(), None)
    whole, plain = narrow.encode(crops(1)), alone.encode(crops(1), structure=False)
    whole.require(plain)
    plain.require(narrow.encode(crops(1), structure=False))
    with pytest.raises(EncoderMismatchError):
        plain.require(whole)
