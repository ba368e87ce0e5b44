"""Tests of the encoding cache."""

import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.encoders.identity import IDEncoder
from lib_uniid.errors import ConfigError
from tests.encoders.builders import narrow_backbone, narrow_clip


@pytest.fixture(scope="module")
def encoder() -> IDEncoder:
    return IDEncoder(narrow_backbone(), narrow_clip())


def crops(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)


def files(cache: EncodingCache) -> list[Path]:
    return sorted(cache.folder.iterdir())


def test_the_same_crops_are_encoded_once(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path)
    first = cache.encode(encoder, crops(0))
    with patch.object(IDEncoder, "encode", side_effect=AssertionError("encoded again")):
        again = cache.encode(encoder, crops(0))
    assert torch.equal(first["intrinsic"], again["intrinsic"])


def test_other_crops_encoders_and_parts_are_kept_apart(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path)
    cache.encode(encoder, crops(0))
    cache.encode(encoder, crops(1))
    cache.encode(encoder, crops(0), structure=False)
    cache.encode(IDEncoder(narrow_backbone(seed=1), narrow_clip()), crops(0))
    assert len(files(cache)) == 4


def test_a_damaged_file_is_made_again(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path)
    whole = cache.encode(encoder, crops(0))
    (file,) = files(cache)
    file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(cache.encode(encoder, crops(0))["intrinsic"], whole["intrinsic"])
    assert torch.equal(cache.encode(encoder, crops(0))["intrinsic"], whole["intrinsic"])


def test_the_least_recently_used_make_room(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path)
    cache.encode(encoder, crops(0))
    (oldest,) = files(cache)
    os.utime(oldest, (1, 1))
    cache.encode(encoder, crops(1))
    (second,) = set(files(cache)) - {oldest}
    os.utime(second, (2, 2))
    cache.encode(encoder, crops(0))  # used again
    bounded = EncodingCache(folder=tmp_path, limit_bytes=2 * oldest.stat().st_size)
    bounded.encode(encoder, crops(2))
    assert oldest.exists()
    assert not second.exists()
    assert len(files(cache)) == 2


def test_a_forgotten_person_leaves_no_encoding_alone_or_with_others(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path)
    cache.encode(encoder, crops(0))
    cache.encode(encoder, crops(0), structure=False)
    cache.encode(encoder, np.concatenate([crops(1), crops(0)]))
    other = cache.encode(encoder, crops(1))
    (tmp_path / "damaged.features.safetensors").write_bytes(b"")
    forgotten = encoder.encode(np.concatenate([crops(2), crops(0)]))
    half = replace(forgotten, tensors={name: tensor.half() for name, tensor in forgotten.tensors.items()})
    assert cache.forget([half]) == 4  # and the damaged one, which may belong to any person
    assert cache.forget([half]) == 0
    with patch.object(IDEncoder, "encode", side_effect=AssertionError("encoded again")):
        assert torch.equal(cache.encode(encoder, crops(1))["intrinsic"], other["intrinsic"])


def test_nothing_half_written_stays_after_an_error(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path)
    with (
        patch("safetensors.torch.save_file", side_effect=OSError("disk full")),
        pytest.raises(OSError, match="disk"),
    ):
        cache.encode(encoder, crops(0))
    assert files(cache) == []


def test_a_negative_limit_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="-1"):
        EncodingCache(folder=tmp_path, limit_bytes=-1)


def test_a_damaged_file_does_not_stop_the_others_from_being_forgotten(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path)
    anna = cache.encode(encoder, crops(0))
    (whole,) = files(cache)
    data = whole.read_bytes()
    damaged = {
        "a": data[:50],
        "b": data.replace(b'"references":"1"', b'"references":"0"'),
        "c": data.replace(b'"references":"1"', b'"references":"x"'),
        "d": data.replace(b'"fingerprint"', b'"fingerprin_"'),
        "e": data.replace(b"[4,", b"[2,2,") if b"[4," in data else data.replace(b"F32", b"I32"),
        "f": b"\xff" * 100,
    }
    for name, content in damaged.items():
        (tmp_path / f"{name}.features.safetensors").write_bytes(content)
    cache.forget([anna])
    assert files(cache) == []


def test_encodings_that_were_not_used_for_a_month_are_removed(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path / "cache", limit_days=30)
    cache.encode(encoder, crops(0))
    cache.encode(encoder, crops(1))
    old = time.time() - 31 * 86400
    for path in files(cache):
        os.utime(path, (old, old))
    cache.encode(encoder, crops(1))  # used, and so not old any more
    assert len(files(cache)) == 1
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(files(cache)[0].stat().st_mode) == 0o600


def test_the_whole_cache_is_cleared(encoder: IDEncoder, tmp_path: Path):
    cache = EncodingCache(folder=tmp_path)
    cache.encode(encoder, crops(0))
    cache.encode(encoder, crops(1))
    (tmp_path / "notes.txt").write_text("of another program")
    assert cache.clear() == 2
    assert [path.name for path in files(cache)] == ["notes.txt"]
