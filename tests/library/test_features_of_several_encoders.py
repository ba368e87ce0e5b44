"""A person of the library has features of several encoders, and the crops from which others are made."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lib_uniid.api.identities import fingerprint
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, UnknownCheckpointError
from lib_uniid.library import store
from lib_uniid.library.identity import FIRST_ENCODER, Identity
from lib_uniid.library.person_file import FORMAT
from lib_uniid.library.store import Library, keep_features

EMBEDDING = np.eye(8, dtype=np.float32)[0]


def crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def features(fingerprint: str, references: int = 2, *names: str, seed: int = 0) -> IDFeatures:
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.rand(2 * references, 3, generator=generator) for name in names or ("a", "b")}
    return IDFeatures(tensors=tensors, fingerprint=fingerprint, references=references)


def person(count: int = 2, seed: int = 0, **encoders: str) -> Identity:
    """Anna with features of these encoders, by their names and fingerprints."""
    return Identity(
        name="Anna",
        features={name: features(one, count, seed=seed) for name, one in encoders.items()},
        embedding=EMBEDDING,
        crops=crops(count, seed),
    )


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(folder=tmp_path / "people")


def first_format(path: Path, *, structure: bool = True) -> dict[str, Tensor]:
    """A file as the first version wrote it."""
    tensors = {"intrinsic": torch.rand(4, 3), "embedding": torch.from_numpy(EMBEDDING)}
    if structure:
        tensors["structure"] = torch.rand(8, 5)
    metadata = {
        "format": "uniid-person-1",
        "name": "Anna",
        "fingerprint": "ab+cd" if structure else "ab",
        "references": "2",
        "recogniser": "0123456789ab",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)
    return tensors


# --- files ---


def test_a_file_holds_the_features_of_every_encoder_and_the_crops_as_they_are(library: Library):
    anna = person(one="1", two="2")
    path = library.save(anna)
    loaded = library.load("Anna")
    assert list(loaded.features) == ["one", "two"]
    for name, own in anna.features.items():
        again = loaded.features_of(name)
        assert again is not None
        assert (again.fingerprint, again.references) == (own.fingerprint, 2)
        assert all(torch.equal(again[key], tensor) for key, tensor in own.tensors.items())
    assert loaded.features_of("three") is None
    assert loaded.crops is not None
    assert np.array_equal(loaded.crops, crops(2))
    assert loaded.references == 2
    assert path.stat().st_size < 2 * 224 * 224 * 3 + 10_000


@pytest.mark.parametrize("structure", [True, False])
def test_a_file_of_the_first_format_is_read_and_stays_whole_when_it_is_renamed(
    library: Library, structure: bool
):
    tensors = first_format(library.folder / "a.safetensors", structure=structure)
    assert library.names() == ["Anna"]
    library.rename("Anna", "Annabel")
    loaded = library.load("Annabel")
    own = loaded.features[FIRST_ENCODER]
    assert all(torch.equal(own[name], tensors[name]) for name in own.tensors)
    assert own.tensors.keys() == tensors.keys() - {"embedding"}
    assert own.core == "ab"
    assert (loaded.crops, loaded.references, loaded.recogniser) == (None, 2, "0123456789ab")
    assert [name for name, _ in library.alike(replace(loaded, name="Zoe"))] == ["Annabel"]


def test_a_file_of_the_first_format_keeps_its_fingerprint(library: Library):
    tensors = first_format(library.folder / "a.safetensors")
    digest = hashlib.sha256(b"ab+cd")
    for name in ("intrinsic", "structure"):
        digest.update(tensors[name].numpy().tobytes())
    assert fingerprint(library.load("Anna")) == digest.hexdigest()[:12]
    library.rename("Anna", "Annabel")
    assert fingerprint(library.load("Annabel")) == digest.hexdigest()[:12]


def test_the_fingerprint_is_of_the_crops_whichever_encoders_ran():
    anna = person(one="1")
    assert fingerprint(anna) == fingerprint(replace(anna, features=person(two="2").features))
    assert fingerprint(anna) != fingerprint(person(seed=1, one="1"))


def damaged_metadata(encoders: object) -> dict[str, str]:
    return {"format": FORMAT, "name": "Anna", "encoders": json.dumps(encoders)}


ENTRY = {"name": "one", "fingerprint": "1", "references": "2"}


@pytest.mark.parametrize(
    ("change", "metadata"),
    [
        ({"crops": torch.zeros(2, 224, 224, 3)}, damaged_metadata([ENTRY])),
        ({"crops": torch.zeros(2, 112, 112, 3, dtype=torch.uint8)}, damaged_metadata([ENTRY])),
        ({"crops": torch.zeros(3, 224, 224, 3, dtype=torch.uint8)}, damaged_metadata([ENTRY])),
        ({"0.a": torch.full((2, 3), float("nan"))}, damaged_metadata([ENTRY])),
        ({}, damaged_metadata([ENTRY, {**ENTRY, "name": "two"}])),
        ({"embedding": torch.full((8,), float("inf"))}, damaged_metadata([ENTRY])),
        ({"embedding": torch.ones(2, 4)}, damaged_metadata([ENTRY])),
        ({}, damaged_metadata([ENTRY]) | {"encoders": "[" * 100_000}),
        ({}, damaged_metadata([3])),
        ({}, damaged_metadata({})),
        ({}, damaged_metadata([ENTRY]) | {"encoders": "["}),
        ({}, {"format": FORMAT, "name": "Anna"}),
    ],
)
def test_a_damaged_file_is_refused_and_the_others_are_listed(
    library: Library, change: dict[str, Tensor], metadata: dict[str, str]
):
    library.save(replace(person(one="1"), name="Ben"))
    whole = {"embedding": torch.from_numpy(EMBEDDING), "0.a": torch.ones(2, 3)}
    save_file({**whole, **change}, library.folder / "a.safetensors", metadata)
    assert library.names() == ["Anna", "Ben"]
    with pytest.raises(UnknownCheckpointError, match=r"a\.safetensors cannot be read as a person"):
        library.load("Anna")


def test_a_person_has_features_or_crops():
    with pytest.raises(ConfigError, match="Anna has neither ID features nor face crops"):
        Identity(name="Anna", features={}, embedding=EMBEDDING)


# --- adding references ---


def test_added_references_join_the_features_of_shared_encoders_and_leave_the_others_to_be_made(
    library: Library,
):
    anna, more = person(one="1", two="2"), person(1, 1, one="1", three="3")
    library.save(anna)
    library.extend(more)
    both = library.load("Anna")
    assert list(both.features) == ["one"]
    wanted = torch.cat([anna.features["one"]["a"], more.features["one"]["a"]])
    assert torch.equal(both.features["one"]["a"], wanted)
    assert both.crops is not None
    assert np.array_equal(both.crops, np.concatenate([crops(2), crops(1, 1)]))
    assert both.references == 3


def test_references_of_another_encoder_are_added_as_crops(library: Library):
    library.save(person(one="1"))
    library.extend(person(1, 1, one="another"))  # the encoder's file was replaced
    both = library.load("Anna")
    assert (both.features, both.references) == ({}, 3)


def test_a_person_of_the_first_format_gets_references_of_the_same_encoder_alone(library: Library):
    first_format(library.folder / "a.safetensors", structure=False)
    more = replace(person(1, 1, one="other"), recogniser="0123456789ab")
    with pytest.raises(EncoderMismatchError, match="re-enrol the person from all"):
        library.extend(more)
    library.extend(replace(more, features={"one": features("ab", 1, "intrinsic")}))
    both = library.load("Anna")
    assert (list(both.features), both.crops, both.references) == (["one"], None, 3)


# --- features that are made later ---


def test_features_made_from_the_crops_are_kept(library: Library):
    path = library.save(person(one="1"))
    before = path.stem
    assert keep_features(library.load("Anna"), "two", features("2"))
    assert list(library.load("Anna").features) == ["one", "two"]
    assert library.ids() == {"Anna": before}


def test_features_are_kept_under_another_name_but_not_for_other_crops_or_a_deleted_person(library: Library):
    library.save(person(one="1"))
    anna = library.load("Anna")
    library.rename("Anna", "Annabel")
    assert keep_features(anna, "two", features("2"))
    library.extend(replace(person(1, 1, one="1"), name="Annabel"))
    assert not keep_features(anna, "three", features("3"))
    assert list(library.load("Annabel").features) == ["one"]
    annabel = library.load("Annabel")
    removed = library.remove("Annabel")
    assert not keep_features(annabel, "three", features("3", 3))
    assert library.names() == []
    library.restore(removed.id)
    assert list(library.load("Annabel").features) == ["one"]


def test_of_a_person_who_is_in_no_library_nothing_is_kept(library: Library):
    assert not keep_features(person(one="1"), "two", features("2"))
    assert not library.folder.exists()


def test_a_library_that_cannot_be_written_is_left_as_it_is(library: Library, monkeypatch: pytest.MonkeyPatch):
    path = library.save(person(one="1"))
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(store, "exclusive", refuse)
    assert not keep_features(library.load("Anna"), "two", features("2"))
    assert path.read_bytes() == before


def test_the_second_format_names_itself(library: Library):
    with safe_open(library.save(person(one="1")), framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["format"] == "uniid-person-2"
    assert [one["name"] for one in json.loads(metadata["encoders"])] == ["one"]
