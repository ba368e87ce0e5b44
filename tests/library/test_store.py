"""The folder of enrolled people."""

import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, DifferentPeopleError, EncoderMismatchError
from lib_uniid.library.store import BIN_DAYS, Identity, Library, also_enrolled

ENCODER = "one"


def person(name: str, *, structure: bool = True) -> Identity:
    torch.manual_seed(len(name))
    tensors = {"intrinsic": torch.randn(4, 6)} | ({"structure": torch.randn(8, 5)} if structure else {})
    features = IDFeatures(tensors=tensors, fingerprint="abc", references=2)
    return Identity(name=name, features={ENCODER: features}, embedding=np.ones(8, dtype=np.float32))


@pytest.mark.parametrize("structure", [True, False])
def test_a_loaded_person_equals_the_saved_one(tmp_path: Path, structure: bool):
    store, anna = Library(folder=tmp_path), person("Anna", structure=structure)
    store.save(anna)
    loaded = store.load("Anna")
    assert torch.equal(loaded.features[ENCODER]["intrinsic"], anna.features[ENCODER]["intrinsic"])
    assert (loaded.features[ENCODER].get("structure") is None) == (not structure)
    assert (loaded.features[ENCODER].fingerprint, loaded.references) == ("abc", 2)
    assert np.array_equal(loaded.embedding, anna.embedding)


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\Windows", "a/b", "Ünïcødé 🎉", "CON", "." * 200])
def test_a_name_never_becomes_a_path(tmp_path: Path, name: str):
    folder = tmp_path / "people"
    path = Library(folder=folder).save(person(name))
    assert path.parent == folder
    assert [entry.name for entry in tmp_path.iterdir()] == ["people"]
    assert len(path.stem) == 36
    assert Library(folder=folder).load(name).name == name


def test_a_name_that_is_taken_is_kept_unless_replaced(tmp_path: Path):
    store = Library(folder=tmp_path)
    first = store.save(person("Anna"))
    with pytest.raises(ConfigError, match="'Anna' is already enrolled"):
        store.save(person("Anna", structure=False))
    assert store.load("Anna").features[ENCODER].get("structure") is not None
    assert store.save(person("Anna", structure=False), replace=True) == first
    assert store.load("Anna").features[ENCODER].get("structure") is None
    assert store.names() == ["Anna"]


def test_an_unknown_name_lists_the_enrolled_names(tmp_path: Path):
    store = Library(folder=tmp_path)
    with pytest.raises(ConfigError, match="no person is enrolled yet"):
        store.load("Ben")
    store.save(person("Anna"))
    with pytest.raises(ConfigError, match=r"'Ben' is enrolled \(Anna\)"):
        store.load("Ben")


def test_other_files_in_the_folder_are_not_changed(tmp_path: Path):
    (tmp_path / "lora.safetensors").write_bytes(b"not ours")
    (tmp_path / "notes.txt").write_text("notes")
    assert Library(folder=tmp_path).names() == []


def test_a_replaced_person_keeps_the_id(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(person("Anna"))
    ids = store.ids()
    store.save(person("Anna", structure=False), replace=True)
    assert store.ids() == ids
    assert store.load_id(ids["Anna"]).features[ENCODER].get("structure") is None


@pytest.mark.parametrize("wanted", ["nobody", "", "../person", "*"])
def test_an_unknown_id_is_refused_and_never_used_as_a_path(tmp_path: Path, wanted: str):
    store = Library(folder=tmp_path / "people")
    Library(folder=tmp_path).save(person("Ben")).rename(tmp_path / "person.safetensors")
    store.save(person("Anna"))
    with pytest.raises(ConfigError, match="no person with the id"):
        store.load_id(wanted)


def test_added_references_follow_the_existing_ones(tmp_path: Path):
    store, anna, more = Library(folder=tmp_path), person("Anna"), person("Anna")
    store.save(anna)
    more = replace(more, embedding=-np.arange(8, dtype=np.float32))
    ids = store.ids()
    store.extend(more, force=True)
    joined = store.load("Anna")
    assert store.ids() == ids
    assert joined.references == 4
    assert torch.equal(joined.features[ENCODER]["intrinsic"][:4], anna.features[ENCODER]["intrinsic"])
    assert torch.equal(joined.features[ENCODER]["intrinsic"][4:], more.features[ENCODER]["intrinsic"])
    assert len(joined.features[ENCODER]["structure"]) == 16
    expected = anna.embedding + more.embedding
    assert np.allclose(joined.embedding, expected / np.linalg.norm(expected))


def test_references_of_other_encoders_are_not_added(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(person("Anna"))
    other = person("Anna")
    changed = replace(other.features[ENCODER], fingerprint="abcd")
    other = replace(other, features={ENCODER: changed})
    before = [path.read_bytes() for path in tmp_path.iterdir()]
    with pytest.raises(EncoderMismatchError, match="Anna was enrolled with other face encoders"):
        store.extend(other)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == before
    with pytest.raises(ConfigError, match="no person named 'Ben'"):
        store.extend(person("Ben"))


def test_a_renamed_person_keeps_the_id(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(person("Anna"))
    before = store.ids()["Anna"]
    store.rename("Anna", " Annabel ")
    assert store.ids() == {"Annabel": before}
    with pytest.raises(ConfigError, match="no person named 'Anna'"):
        store.rename("Anna", "Ben")


def test_two_people_never_get_one_name(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(person("Anna"))
    store.save(person("Ben"))
    for name, said in (("Ben", "the name of another person"), ("  ", "1 to 200 characters")):
        with pytest.raises(ConfigError, match=said):
            store.rename("Anna", name)
    store.rename("Anna", "Anna")
    assert store.names() == ["Anna", "Ben"]


def test_a_deleted_person_leaves_nothing_and_can_be_restored(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(person("Anna"))
    ids = store.ids()
    removed = store.remove("Anna")
    assert (removed.name, removed.id) == ("Anna", ids["Anna"])
    assert store.names() == [] == [*tmp_path.glob("*.safetensors")]
    assert store.deleted() == [removed]
    store.restore(removed.id)
    assert store.ids() == ids
    assert store.deleted() == []
    with pytest.raises(ConfigError, match="the bin has no person"):
        store.restore(removed.id)


def test_the_name_of_a_deleted_person_may_be_taken_since(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(person("Anna"))
    removed = store.remove("Anna")
    store.save(person("Anna"))
    with pytest.raises(ConfigError, match="'Anna' is the name of another person now"):
        store.restore(removed.id)
    assert store.deleted() == [removed]
    store.rename("Anna", "Annabel")
    store.restore(removed.id)
    assert store.names() == ["Anna", "Annabel"]


def test_the_bin_is_emptied_for_good_by_id_or_whole_and_by_age(tmp_path: Path):
    store = Library(folder=tmp_path)
    for name in ("Anna", "Ben", "Clara", "Dora"):
        store.save(person(name))
    anna, *_ = [store.remove(name) for name in ("Anna", "Ben", "Clara")]
    store.erase(anna.id)
    assert {one.name for one in store.deleted()} == {"Ben", "Clara"}
    (ben,) = [one for one in store.deleted() if one.name == "Ben"]
    old = time.time() - (BIN_DAYS + 1) * 86400
    os.utime(tmp_path / "bin" / f"{ben.id}.safetensors", (old, old))
    store.rename("Dora", "Dorothea")  # any write
    assert {one.name for one in store.deleted()} == {"Clara"}
    assert [one.name for one in store.erase()] == ["Clara"]
    assert [*tmp_path.rglob("*.safetensors")] == [next(iter(tmp_path.glob("*.safetensors")))]


@pytest.mark.parametrize("wanted", ["../person", "*", "", "person"])
def test_an_id_in_the_bin_never_becomes_a_path(tmp_path: Path, wanted: str):
    store = Library(folder=tmp_path / "people")
    Library(folder=tmp_path).save(person("Ben")).rename(tmp_path / "person.safetensors")
    store.save(person("Anna"))
    store.remove("Anna")
    for act in (store.restore, store.erase):
        with pytest.raises(ConfigError, match="the bin has no person"):
            act(wanted)
    assert (tmp_path / "person.safetensors").exists()


def test_a_name_has_one_form_however_it_is_typed(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(person("Zo\u00eb"))
    typed = " Zoe\u0308 "  # in the other Unicode form, with blanks
    assert store.load(typed).name == "Zo\u00eb"
    with pytest.raises(ConfigError, match="is already enrolled"):
        store.save(person(typed))
    store.extend(person(typed))
    store.rename(typed, "zo\u00eb")
    assert store.names() == ["zo\u00eb"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Anna=2024", "equals sign"),
        ("An\nna", r"U\+000A"),
        ("Anna\x1b[31m", r"U\+001B"),
        ("Anna\u202e", r"U\+202E"),
        ("An\u200bna", r"U\+200B"),
        ("x" * 201, "got 201"),
        (" \u3000 ", "empty name|got 0"),
        ("0a1b2c3d-0000-4000-8000-00000000000a", "form of an id"),
        ("pictures-0a1b", "form of an id"),
    ],
)
def test_a_name_that_one_interface_could_not_use_is_refused_by_all(tmp_path: Path, name: str, said: str):
    store = Library(folder=tmp_path)
    store.save(person("Ben"))
    with pytest.raises(ConfigError, match=said):
        store.save(replace(person("x"), name=name))
    with pytest.raises(ConfigError, match=said):
        store.rename("Ben", name)
    assert store.names() == ["Ben"]


def test_who_was_enrolled_under_a_name_that_is_refused_now_can_be_loaded_and_renamed(tmp_path: Path):
    store = Library(folder=tmp_path)
    path = store.save(person("Anna"))
    data = path.read_bytes().replace(b'"name":"Anna"', b'"name":"A=2" ')
    path.write_bytes(data)
    assert store.names() == ["A=2"]
    store.rename("A=2", "Anna")
    assert store.load("Anna").name == "Anna"


def test_files_of_people_are_readable_only_by_their_owner(tmp_path: Path):
    store = Library(folder=tmp_path / "people")
    path = store.save(person("Anna"))
    store.remove("Anna")
    folders = [store.folder, store.folder / "bin"]
    assert [stat.S_IMODE(one.stat().st_mode) for one in folders] == [0o700, 0o700]
    store.restore(path.stem)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_records_the_recogniser_and_an_old_file_has_none(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(person("Anna"))
    store.save(replace(person("Ben"), recogniser="0123456789ab"))
    assert store.load("Anna").recogniser is None
    store.rename("Ben", "Benjamin")
    assert store.load("Benjamin").recogniser == "0123456789ab"


def test_embeddings_of_two_recognisers_are_not_joined(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(replace(person("Anna"), recogniser="0123456789ab"))
    with pytest.raises(EncoderMismatchError, match="0123456789ab, and ba9876543210 is used now"):
        store.extend(replace(person("Anna"), recogniser="ba9876543210"))
    store.extend(replace(person("Anna"), recogniser="0123456789ab"))
    assert store.load("Anna").recogniser == "0123456789ab"
    store.extend(person("Anna"))  # made before recognisers were written down
    assert store.load("Anna").recogniser is None


def facing(name: str, angle: float, **more: str) -> Identity:
    """A person whose ID embedding lies on a circle, in degrees."""
    turned = np.radians(angle)
    embedding = np.array([np.cos(turned), np.sin(turned)], dtype=np.float32)
    return replace(person(name), embedding=embedding, **more)  # pyright: ignore[reportArgumentType]


def test_references_of_another_person_are_added_only_when_it_is_confirmed(tmp_path: Path):
    store = Library(folder=tmp_path)
    store.save(facing("Anna", 0.0))
    with pytest.raises(DifferentPeopleError, match=r"do not seem to show Anna \(similarity 0\.00"):
        store.extend(facing("Anna", 90.0))
    assert store.load("Anna").references == 2
    store.extend(facing("Anna", 90.0), force=True)
    store.extend(facing("Anna", 60.0))
    assert store.load("Anna").references == 6


def test_a_similar_person_under_another_name_is_reported(tmp_path: Path):
    store = Library(folder=tmp_path)
    for name, angle in (("Anna", 0.0), ("Ben", 90.0), ("Clara", 40.0)):
        store.save(facing(name, angle))
    store.save(facing("Dora", 0.0, recogniser="0123456789ab"))  # whose embedding cannot be compared
    assert also_enrolled(store, facing("Zoe", 10.0)) == [
        "Anna, already enrolled, looks like Zoe (similarity 0.98)",
        "Clara, already enrolled, looks like Zoe (similarity 0.87)",
    ]
    assert also_enrolled(store, facing("Anna", 80.0)) == [
        "Ben, already enrolled, looks like Anna (similarity 0.98)",
        "Clara, already enrolled, looks like Anna (similarity 0.77)",
    ]
