"""A folder of enrolled people: one safetensors file each, under a name that says nothing about them.

A person's name is a label in the file's metadata and never becomes a path.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lib_uniid.encoders.identity import IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, UnknownCheckpointError
from lib_uniid.files import replacing
from lib_uniid.typing import Float32
from lib_uniid.weights import read_small

FORMAT = "uniid-person-1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """Somebody who can be put into pictures: features for making, an ID embedding for checking.

    The embedding is the recogniser's, the L2-normalised mean over the references. ``recogniser`` is the
    fingerprint of the recogniser's file, see :attr:`lib_uniid.faces.detection.FaceFinder.recogniser`; None
    where it is not known, as in files of earlier versions.
    """

    name: str
    features: IDFeatures
    embedding: Float32[np.ndarray, " d"]
    recogniser: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("a person has an empty name; give every person a name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Somebody who was deleted, in memory alone."""

    name: str
    id: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleFolder:
    """The people in a folder, by name or by id; an id is the name of the file and never changes."""

    folder: Path

    def ids(self) -> dict[str, str]:
        """Everybody's id, by name."""
        return {name: path.stem for path, name in self._files()}

    def names(self) -> list[str]:
        """Everybody's name, in alphabetical order."""
        return sorted((name for _, name in self._files()), key=str.casefold)

    def load(self, name: str) -> Person:
        """The person of this name; ``ConfigError`` with the names there are when there is none."""
        path = self._find(name)
        if path is None:
            known = ", ".join(self.names()) or "nobody is enrolled yet"
            raise ConfigError(f"nobody called {name!r} is enrolled ({known}); enrol them with uniid enrol")
        return _read(path)

    def load_id(self, wanted: str) -> Person:
        """The person of this id; ``ConfigError`` when there is none."""
        # Compared with what is there, never made into a path.
        path = next((path for path, _ in self._files() if path.stem == wanted), None)
        if path is None:
            raise ConfigError(f"nobody with the id {wanted!r} is enrolled; import or enrol them again")
        return _read(path)

    def save(self, person: Person, *, replace: bool = False) -> Path:
        """Write the person's file; ``ConfigError`` where the name is taken and not to be replaced."""
        path = self._find(person.name)
        if path is not None and not replace:
            raise ConfigError(f"{person.name!r} is enrolled already; choose another name or replace them")
        path = path or self.folder / f"{uuid4()}.safetensors"
        with replacing(path) as temporary:
            temporary.write_bytes(_serialise(person))
        return path

    def extend(self, more: Person) -> Path:
        """Add the references of ``more`` to the person of the same name.

        ``ConfigError`` where there is none, ``EncoderMismatchError`` where other encoders made them.
        """
        return self.save(_joined(self.load(more.name), more), replace=True)

    def rename(self, name: str, new: str) -> None:
        """Give somebody another name; ``ConfigError`` where it is empty, taken, or nobody has the old one."""
        path, person = self._require(name), replace(self.load(name), name=new.strip())
        if person.name != name and self._find(person.name) is not None:
            raise ConfigError(f"{person.name!r} is the name of somebody else; choose another one")
        with replacing(path) as temporary:
            temporary.write_bytes(_serialise(person))

    def remove(self, name: str) -> "Removed":
        """Delete somebody's file; what is returned can bring them back."""
        path = self._require(name)
        removed = Removed(name=name, id=path.stem, data=path.read_bytes())
        path.unlink()
        return removed

    def restore(self, removed: "Removed") -> None:
        """Bring somebody back under their id; ``ConfigError`` where the name was taken since."""
        if self._find(removed.name) is not None:
            raise ConfigError(f"{removed.name!r} was enrolled anew since; rename or delete them first")
        with replacing(self.folder / f"{removed.id}.safetensors") as temporary:
            temporary.write_bytes(removed.data)

    def _require(self, name: str) -> Path:
        path = self._find(name)
        if path is None:
            raise ConfigError(f"nobody called {name!r} is enrolled; look again who is")
        return path

    def _find(self, name: str) -> Path | None:
        return next((path for path, known in self._files() if known == name), None)

    def _files(self) -> Iterator[tuple[Path, str]]:
        """Our files and the names in them; other files in the folder are none of our business."""
        for path in sorted(self.folder.glob("*.safetensors")):
            metadata = _metadata(path)
            if metadata.get("format") == FORMAT:
                yield path, metadata.get("name", "")


def _joined(person: Person, more: Person) -> Person:
    """References follow one another as tokens; each counts as much for the embedding."""
    old, new = person.features, more.features
    if old.fingerprint != new.fingerprint:
        raise EncoderMismatchError(
            f"{person.name} was enrolled with other face encoders than are there now, and features of both "
            "cannot be joined; save these pictures under another name, or enrol the person anew from all of "
            "them by uniid enrol --replace"
        )
    if person.recogniser and more.recogniser and person.recogniser != more.recogniser:
        raise EncoderMismatchError(
            f"{person.name} was enrolled with the face recogniser {person.recogniser}, and "
            f"{more.recogniser} is used now; their ID embeddings cannot be joined. Enrol the person anew "
            "from all pictures by uniid enrol --replace"
        )
    features = replace(
        old,
        intrinsic=torch.cat([old.intrinsic, new.intrinsic.to(old.intrinsic)]),
        structure=None
        if old.structure is None or new.structure is None
        else torch.cat([old.structure, new.structure.to(old.structure)]),
        references=old.references + new.references,
    )
    total = old.references * person.embedding + new.references * more.embedding
    length = max(float(np.linalg.norm(total)), 1e-12)
    return replace(
        person,
        features=features,
        embedding=(total / length).astype(np.float32),
        recogniser=person.recogniser if person.recogniser == more.recogniser else None,
    )


def _serialise(person: Person) -> bytes:
    features = person.features
    tensors = {
        "intrinsic": features.intrinsic.detach().cpu().contiguous(),
        "embedding": torch.from_numpy(person.embedding),
    }
    if features.structure is not None:
        tensors["structure"] = features.structure.detach().cpu().contiguous()
    metadata = {
        "format": FORMAT,
        "name": person.name,
        "fingerprint": features.fingerprint,
        "references": str(features.references),
    }
    if person.recogniser is not None:
        metadata["recogniser"] = person.recogniser
    return save(tensors, metadata)


def _read(path: Path) -> Person:
    try:
        tensors, metadata = read_small(path)
        features = IDFeatures(
            intrinsic=tensors["intrinsic"],
            structure=tensors.get("structure"),
            fingerprint=metadata["fingerprint"],
            references=int(metadata["references"]),
        )
        return Person(
            name=metadata["name"],
            features=features,
            embedding=tensors["embedding"].numpy(),
            recogniser=metadata.get("recogniser"),
        )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UnknownCheckpointError(
            f"{path.name} cannot be read as a person ({error}); enrol them again"
        ) from error


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}
