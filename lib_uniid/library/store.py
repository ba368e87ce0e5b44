"""A folder of enrolled people: one safetensors file each, with a random name.

A person's name is a label in the file's metadata and never becomes a path. A deleted person stays for
:data:`BIN_DAYS` days in the bin, a subfolder. Programs that share a folder write one after another, and each
write starts from the current files.
"""

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lib_uniid.config import SAME_PERSON
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import (
    ConfigError,
    DifferentPeopleError,
    EncoderMismatchError,
    UnknownCheckpointError,
)
from lib_uniid.files import exclusive, move, private_folder, remove_stale, replacing
from lib_uniid.library.names import checked, normal
from lib_uniid.plugins import plugins
from lib_uniid.typing import Float32
from lib_uniid.weights import read_small

FORMAT = "uniid-person-1"
ALIKE = 0.5
"""Cosine similarity from which a note names a similar person with another name."""
BIN = "bin"
BIN_DAYS = 30
"""Days after which the next write to the library erases a deleted person."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identity:
    """An enrolled person: ID features for generation, and an ID embedding for the check.

    The embedding is the L2-normalised mean of the recogniser's embeddings of the references. ``recogniser``
    is the fingerprint of the recogniser's file, see :attr:`lib_uniid.faces.detection.FaceFinder.recogniser`;
    None if unknown, as in files of earlier versions.
    """

    name: str
    features: IDFeatures
    embedding: Float32[np.ndarray, " d"]
    recogniser: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("a person has an empty name; give every person a name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A person in the bin; ``when`` is the time of the deletion in seconds since 1970."""

    id: str
    name: str
    when: float


def _warn(sentence: str) -> None:
    logging.getLogger("uniid").warning(sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The people in a folder, by name or by id; an id is the file's name and never changes.

    Names are compared in their normal form, see :mod:`lib_uniid.library.names`. Methods that write
    raise ``OSError`` if the folder is read-only or the disk is full, and ``ConfigError`` if another program
    keeps the folder locked. Reading works in a read-only folder.
    """

    folder: Path

    def ids(self) -> dict[str, str]:
        """The id of each person, by name."""
        return {name: path.stem for path, name in self._files()}

    def names(self) -> list[str]:
        """The name of each person, in alphabetical order."""
        return sorted((name for _, name in self._files()), key=str.casefold)

    def load(self, name: str) -> Identity:
        """The person with this name; for an unknown name, ``ConfigError`` with the known names."""
        return self.find(name)[1]

    def find(self, name: str) -> tuple[str, Identity]:
        """Id and person for a name, as :meth:`load`."""
        path = self._find(name)
        if path is None:
            known = ", ".join(self.names()) or "no person is enrolled yet"
            raise ConfigError(
                f"no person named {name!r} is enrolled ({known}); enrol the person with uniid enrol"
            )
        return path.stem, _read(path)

    def load_id(self, wanted: str) -> Identity:
        """The person with this id; ``ConfigError`` for an unknown id."""
        # Compared with existing files, never made into a path.
        path = next((path for path, _ in self._files() if path.stem == wanted), None)
        if path is None:
            raise ConfigError(
                f"no person with the id {wanted!r} is enrolled; import or enrol the person again"
            )
        return _read(path)

    def save(self, person: Identity, *, replace: bool = False, notify: Callable[[str], None] = _warn) -> Path:
        """Write the person's file; ``ConfigError`` if the name is taken and ``replace`` is false.

        The name must be within the limits of :func:`lib_uniid.library.names.checked`. ``notify`` is called
        with a sentence for each plugin that failed when it was told of the person, and is switched off.
        """
        person = _named(person, person.name)
        with self._writing():
            path = self._find(person.name)
            if path is not None and not replace:
                raise ConfigError(
                    f"{person.name!r} is already enrolled; choose another name or replace the person"
                )
            path = _write(path or self.folder / f"{uuid4()}.safetensors", person)
        _announce(person, notify)
        return path

    def extend(self, more: Identity, *, force: bool = False, notify: Callable[[str], None] = _warn) -> Path:
        """Add the references of ``more`` to the person of the same name; ``notify`` as for :meth:`save`.

        Raises ``ConfigError`` for an unknown name, ``EncoderMismatchError`` if other encoders made the
        features, and ``DifferentPeopleError`` if they seem to show another person, unless ``force`` is set.
        """
        with self._writing():
            path = self._require(more.name)
            person = _read(path)
            joined = _joined(person, more)
            if not force:
                _require_alike(person, more)
            _write(path, joined)
        _announce(joined, notify)
        return path

    def alike(self, person: Identity, least: float = ALIKE) -> list[tuple[str, float]]:
        """Name and similarity of similar people, the most similar first.

        Only people with another name, enrolled with the same recogniser, are compared.
        """
        found: list[tuple[str, float]] = []
        for path, name in self._files():
            embedding = _embedding(path, person.recogniser)
            if embedding is None or embedding.shape != person.embedding.shape or name == normal(person.name):
                continue
            found.append((name, _similarity(embedding, person.embedding)))
        return sorted((one for one in found if one[1] >= least), key=lambda one: -one[1])

    def rename(self, name: str, new: str) -> None:
        """Rename a person; ``ConfigError`` if the new name is invalid or taken."""
        with self._writing():
            path = self._require(name)
            person = _named(_read(path), new)
            if self._find(person.name) not in (None, path):
                raise ConfigError(f"{person.name!r} is the name of another person; choose another name")
            _write(path, person)

    def remove(self, name: str) -> Deleted:
        """Move a person's file into the bin; :meth:`restore` with the ``id`` undoes this.

        The file holds only features. :func:`lib_uniid.library.forgetting.forget` deletes the other data about
        the person.
        """
        with self._writing():
            path = self._require(name)
            private_folder(self._bin)
            os.utime(path)  # the time of the deletion
            move(path, self._bin / path.name)
            return self._require_deleted(path.stem)

    def deleted(self) -> list[Deleted]:
        """The people in the bin, the latest first."""
        found = [
            Deleted(id=path.stem, name=name, when=path.stat().st_mtime)
            for path, name in _people_files(self._bin)
            if path.exists()
        ]
        return sorted(found, key=lambda one: one.when, reverse=True)

    def restore(self, wanted: str) -> Deleted:
        """Restore a person from the bin under the same id.

        ``ConfigError`` if the bin has no such id, or the name is taken now.
        """
        with self._writing():
            one = self._require_deleted(wanted)
            if self._find(one.name) is not None:
                raise ConfigError(
                    f"{one.name!r} is the name of another person now; rename or delete that person first"
                )
            move(self._bin / f"{one.id}.safetensors", self.folder / f"{one.id}.safetensors")
            return one

    def erase(self, wanted: str | None = None) -> list[Deleted]:
        """Permanently delete one person in the bin, or the whole bin; returns the deleted people."""
        with self._writing():
            gone = self.deleted() if wanted is None else [self._require_deleted(wanted)]
            for one in gone:
                (self._bin / f"{one.id}.safetensors").unlink(missing_ok=True)
            return gone

    @property
    def _bin(self) -> Path:
        return self.folder / BIN

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        """Lock the folder against other writers."""
        private_folder(self.folder)
        with exclusive(self.folder / ".lock"):
            _erase_old(self._bin)
            yield

    def _require(self, name: str) -> Path:
        path = self._find(name)
        if path is None:
            raise ConfigError(f"no person named {name!r} is enrolled; uniid people list shows all names")
        return path

    def _require_deleted(self, wanted: str) -> Deleted:
        found = next((one for one in self.deleted() if one.id == wanted), None)
        if found is None:
            raise ConfigError(f"the bin has no person with the id {wanted!r}; enrol the person again")
        return found

    def _find(self, name: str) -> Path | None:
        wanted = normal(name)
        return next((path for path, known in self._files() if known == wanted), None)

    def _files(self) -> Iterator[tuple[Path, str]]:
        remove_stale(self.folder)
        return _people_files(self.folder)


def also_enrolled(library: Library, person: Identity) -> list[str]:
    """A sentence for each similar person with another name."""
    return [
        f"{name}, already enrolled, looks like {person.name} (similarity {similarity:.2f})"
        for name, similarity in library.alike(person)
    ]


def _announce(person: Identity, notify: Callable[[str], None]) -> None:
    for sentence in plugins().announce("identity_saved", identity=person):
        notify(sentence)


def _people_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files of people and the names in them; other files in the folder are ignored."""
    for path in sorted(folder.glob("*.safetensors")):
        metadata = _metadata(path)
        if metadata.get("format") == FORMAT:
            yield path, normal(metadata.get("name", ""))


def _erase_old(folder: Path) -> None:
    oldest = time.time() - BIN_DAYS * 86400
    for path, _ in _people_files(folder):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _named(person: Identity, name: str) -> Identity:
    return replace(person, name=checked(name))


def _write(path: Path, person: Identity) -> Path:
    with replacing(path) as temporary:
        temporary.write_bytes(_serialise(person))
    return path


def _require_alike(person: Identity, more: Identity) -> None:
    similarity = _similarity(person.embedding, more.embedding)
    if similarity < SAME_PERSON:
        raise DifferentPeopleError(
            f"these pictures do not seem to show {person.name} (similarity {similarity:.2f}; "
            f"{SAME_PERSON:g} or more is one person). Save them under another name, or confirm that they "
            "show the same person (--force)"
        )


def _similarity(one: Float32[np.ndarray, " d"], other: Float32[np.ndarray, " d"]) -> float:
    """Cosine similarity of two embeddings of one recogniser."""
    return float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12)


def _joined(person: Identity, more: Identity) -> Identity:
    """The tokens are concatenated; each reference has the same weight in the embedding."""
    old, new = person.features, more.features
    if old.fingerprint != new.fingerprint:
        raise EncoderMismatchError(
            f"{person.name} was enrolled with other face encoders than the current ones, and their features "
            "cannot be joined; save these pictures under another name, or re-enrol the person from all "
            "pictures with uniid enrol --replace"
        )
    if person.recogniser and more.recogniser and person.recogniser != more.recogniser:
        raise EncoderMismatchError(
            f"{person.name} was enrolled with the face recogniser {person.recogniser}, and "
            f"{more.recogniser} is used now; their ID embeddings cannot be joined. Re-enrol the person "
            "from all pictures with uniid enrol --replace"
        )
    total = old.references * person.embedding + new.references * more.embedding
    length = max(float(np.linalg.norm(total)), 1e-12)
    return replace(
        person,
        features=old.joined(new),
        embedding=(total / length).astype(np.float32),
        recogniser=person.recogniser if person.recogniser == more.recogniser else None,
    )


def _serialise(person: Identity) -> bytes:
    features = person.features
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in features.tensors.items()}
    tensors["embedding"] = torch.from_numpy(person.embedding)
    metadata = {"format": FORMAT, "name": person.name, **features.metadata}
    if person.recogniser is not None:
        metadata["recogniser"] = person.recogniser
    return save(tensors, metadata)


def _read(path: Path) -> Identity:
    try:
        tensors, metadata = read_small(path)
        return Identity(
            name=normal(metadata["name"]),
            embedding=tensors.pop("embedding").numpy(),
            features=IDFeatures.of(tensors, metadata),
            recogniser=metadata.get("recogniser"),
        )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UnknownCheckpointError(
            f"{path.name} cannot be read as a person ({error}); enrol the person again"
        ) from error


def _embedding(path: Path, recogniser: str | None) -> Float32[np.ndarray, " d"] | None:
    """The embedding in a file; None if another recogniser made it, or the file is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            same = (file.metadata() or {}).get("recogniser") == recogniser
            return file.get_tensor("embedding").astype(np.float32) if same else None
    except (OSError, SafetensorError):
        return None


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}
