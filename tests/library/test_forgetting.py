"""What is kept of people is deleted with them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_uniid.encoders.cache import EncodingCache
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError
from lib_uniid.library.forgetting import delete, forget
from lib_uniid.library.store import Identity, Library


class Encoder:
    """Features of a crop are its corner's numbers."""

    fingerprint = "abc"

    def encode(self, crops: np.ndarray, structure: bool = True) -> IDFeatures:
        intrinsic = torch.from_numpy(crops[:, :4, :6, 0].astype(np.float32)).flatten(0, 1)
        return IDFeatures(tensors={"intrinsic": intrinsic}, fingerprint="abc", references=len(crops))


def crops(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(folder=tmp_path / "library")


@pytest.fixture
def cache(tmp_path: Path) -> EncodingCache:
    return EncodingCache(folder=tmp_path / "cache")


def enrol(library: Library, cache: EncodingCache, name: str, seed: int) -> Path:
    features = cache.encode(Encoder(), crops(seed))
    return library.save(
        Identity(name=name, features={"one": features}, embedding=np.ones(8, dtype=np.float32))
    )


def encodings(cache: EncodingCache) -> int:
    return len([*cache.folder.iterdir()])


def test_a_deleted_person_leaves_no_encoding_and_is_restored_from_the_bin(
    library: Library, cache: EncodingCache
):
    enrol(library, cache, "Anna", 0)
    enrol(library, cache, "Ben", 1)
    deleted = delete(library, cache, "Anna")
    assert (library.names(), encodings(cache)) == (["Ben"], 1)
    library.restore(deleted.id)
    assert library.names() == ["Anna", "Ben"]
    with pytest.raises(ConfigError, match="Zoe"):
        delete(library, cache, "Zoe")
    assert encodings(cache) == 1


def test_a_damaged_person_is_deleted_and_the_cache_with_them(library: Library, cache: EncodingCache):
    path = enrol(library, cache, "Anna", 0)
    path.write_bytes(path.read_bytes().replace(b'"references":"1"', b'"references":"x"'))
    delete(library, cache, "Anna")
    assert (library.names(), encodings(cache)) == ([], 0)


def test_forgetting_erases_encodings_and_the_bin_and_keeps_who_is_enrolled(
    library: Library, cache: EncodingCache
):
    enrol(library, cache, "Anna", 0)
    enrol(library, cache, "Ben", 1)
    cache.encode(Encoder(), crops(2))  # only shown
    delete(library, cache, "Anna")
    forgotten = forget(library, cache)
    assert ([one.name for one in forgotten.people], forgotten.encodings) == (["Anna"], 2)
    assert (library.names(), library.deleted(), encodings(cache)) == (["Ben"], [], 0)
    assert [one.name for one in forget(library, cache, "Ben").people] == ["Ben"]
    assert [*library.folder.rglob("*.safetensors")] == []


def test_encodings_of_a_person_s_crops_go_whichever_encoder_made_them(library: Library, cache: EncodingCache):
    """References were added since the other encoder ran, so the person has no features of it."""
    first, more = crops(0), crops(1)
    other = Encoder()
    other.fingerprint = "other"
    cache.encode(other, first)
    features = cache.encode(Encoder(), np.concatenate([first, more]))
    cache.encode(other, crops(2))  # of another person
    library.save(
        Identity(
            name="Anna",
            features={"one": features},
            embedding=np.ones(8, dtype=np.float32),
            crops=np.concatenate([first, more]),
        )
    )
    assert encodings(cache) == 3
    delete(library, cache, "Anna")
    assert encodings(cache) == 1
