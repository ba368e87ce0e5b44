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

from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, UniIDError
from lib_uniid.files import exclusive, move, private_folder, remove_stale
from lib_uniid.library.identity import Identity, joined, require_alike, similarity
from lib_uniid.library.names import checked, normal
from lib_uniid.library.person_file import embedding_in, name_in, read, write
from lib_uniid.plugins import plugins

ALIKE = 0.5
"""Cosine similarity from which a note names a similar person with another name."""
BIN = "bin"
BIN_DAYS = 30
"""Days after which the next write to the library erases a deleted person."""


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
        return path.stem, read(path)

    def load_id(self, wanted: str) -> Identity:
        """The person with this id; ``ConfigError`` for an unknown id."""
        # Compared with existing files, never made into a path.
        path = next((path for path, _ in self._files() if path.stem == wanted), None)
        if path is None:
            raise ConfigError(
                f"no person with the id {wanted!r} is enrolled; import or enrol the person again"
            )
        return read(path)

    def save(self, person: Identity, *, replace: bool = False, notify: Callable[[str], None] = _warn) -> Path:
        """Write the person's file; ``ConfigError`` if the name is taken and ``replace`` is false.

        The name must be within the limits of :func:`lib_uniid.library.names.checked`. ``notify`` is called
        with a sentence for each plugin that failed when it was told of the person, and is switched off.
        """
        person = _named(person, person.name)
        with self.writing():
            path = self._find(person.name)
            if path is not None and not replace:
                raise ConfigError(
                    f"{person.name!r} is already enrolled; choose another name or replace the person"
                )
            path = write(path or self.folder / f"{uuid4()}.safetensors", person)
        _announce(person, notify)
        return path

    def extend(self, more: Identity, *, force: bool = False, notify: Callable[[str], None] = _warn) -> Path:
        """Add the references of ``more`` to the person of the same name; ``notify`` as for :meth:`save`.

        Raises ``ConfigError`` for an unknown name, ``EncoderMismatchError`` if nothing can be joined (see
        :func:`lib_uniid.library.identity.joined`), and ``DifferentPeopleError`` if they seem to show another
        person, unless ``force`` is set.
        """
        with self.writing():
            path = self._require(more.name)
            person = read(path)
            both = joined(person, more)
            if not force:
                require_alike(person, more)
            write(path, both)
        _announce(both, notify)
        return path

    def alike(self, person: Identity, least: float = ALIKE) -> list[tuple[str, float]]:
        """Name and similarity of similar people, the most similar first.

        Only people with another name, enrolled with the same recogniser, are compared.
        """
        found: list[tuple[str, float]] = []
        for path, name in self._files():
            embedding = embedding_in(path, person.recogniser)
            if embedding is None or embedding.shape != person.embedding.shape or name == normal(person.name):
                continue
            found.append((name, similarity(embedding, person.embedding)))
        return sorted((one for one in found if one[1] >= least), key=lambda one: -one[1])

    def rename(self, name: str, new: str) -> None:
        """Rename a person; ``ConfigError`` if the new name is invalid or taken."""
        with self.writing():
            path = self._require(name)
            person = _named(read(path), new)
            if self._find(person.name) not in (None, path):
                raise ConfigError(f"{person.name!r} is the name of another person; choose another name")
            write(path, person)

    def remove(self, name: str) -> Deleted:
        """Move a person's file into the bin; :meth:`restore` with the ``id`` undoes this.

        This is all that the library holds of them. :func:`lib_uniid.library.forgetting.forget` deletes the
        other data about the person.
        """
        with self.writing():
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
        with self.writing():
            one = self._require_deleted(wanted)
            if self._find(one.name) is not None:
                raise ConfigError(
                    f"{one.name!r} is the name of another person now; rename or delete that person first"
                )
            move(self._bin / f"{one.id}.safetensors", self.folder / f"{one.id}.safetensors")
            return one

    def erase(self, wanted: str | None = None) -> list[Deleted]:
        """Permanently delete one person in the bin, or the whole bin; returns the deleted people."""
        with self.writing():
            gone = self.deleted() if wanted is None else [self._require_deleted(wanted)]
            for one in gone:
                (self._bin / f"{one.id}.safetensors").unlink(missing_ok=True)
            return gone

    @property
    def _bin(self) -> Path:
        return self.folder / BIN

    @contextmanager
    def writing(self) -> Generator[None, None, None]:
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
        name = name_in(path)
        if name is not None:
            yield path, name


def _erase_old(folder: Path) -> None:
    oldest = time.time() - BIN_DAYS * 86400
    for path, _ in _people_files(folder):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _named(person: Identity, name: str) -> Identity:
    return replace(person, name=checked(name))


def keep_features(person: Identity, encoder: str, features: IDFeatures) -> bool:
    """Add features that were made from a person's crops to the person's file; returns whether that was done.

    It is not done for a person who was not loaded from a library, whose file is gone or has other crops now,
    or in a folder that cannot be written. The features are then made again when they are needed.
    """
    path = person.file
    if path is None or person.crops is None or features.references != len(person.crops) or not path.exists():
        return False
    try:
        with Library(folder=path.parent).writing():
            current = read(path)
            if current.crops is None or not np.array_equal(current.crops, person.crops):
                return False
            write(path, replace(current, features={**current.features, encoder: features}))
    except (OSError, UniIDError):
        return False
    return True
