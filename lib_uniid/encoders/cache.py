"""A disk cache of encodings: a crop is encoded once per encoder."""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from lib_uniid.encoders.features import IDFeatures
from lib_uniid.errors import ConfigError, UniIDError, UnknownCheckpointError
from lib_uniid.files import private_folder, remove_stale
from lib_uniid.typing import Float, UInt8

SAME = 0.03
"""Relative distance below which two encodings are of one crop; precision and devices change less."""

_SUFFIX = ".features.safetensors"
_CROPS = "crops"  # the metadata with the digests of the crops


@runtime_checkable
class Encoder(Protocol):
    """The part of :class:`lib_uniid.encoders.identity.IDEncoder` that the cache uses."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of all encoders."""
        ...

    def encode(self, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True) -> IDFeatures:
        """ID features of one person from aligned crops."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingCache:
    """A folder of ID features in files named by content hashes; the least recently used are removed first.

    It holds features of enrolled people and of people who were only in a request's pictures.

    Attributes:
        folder: made when something is stored; only its owner may read it.
        limit_bytes: of all files together; one reference takes about 2 MB at the official sizes.
        limit_days: features that were not used for this long are removed at the next use of the cache.
    """

    folder: Path
    limit_bytes: int = 512 * 2**20
    limit_days: int = 30

    def __post_init__(self) -> None:
        if self.limit_bytes < 0:
            raise ConfigError(
                f"the size limit of the encoding cache must not be negative, got {self.limit_bytes}"
            )

    def encode(
        self, encoder: Encoder, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True
    ) -> IDFeatures:
        """``encoder.encode``, or the stored result; a damaged file counts as absent."""
        path = self.folder / f"{_key(encoder.fingerprint, crops, structure)}{_SUFFIX}"
        features = self._load(path)
        if features is None:
            features = encoder.encode(crops, structure)
            private_folder(self.folder)
            features.save(path, {_CROPS: " ".join(_digests(crops))})
        self._make_room()
        return features

    def forget(
        self, features: Sequence[IDFeatures], crops: UInt8[np.ndarray, "r 224 224 3"] | None = None
    ) -> int:
        """Remove every encoding of a person; returns the number removed.

        It is one of any of these crops, by any encoder, or contains a reference of these features. Damaged
        files are removed too, because their person is unknown. Raises ``OSError`` for a file that cannot be
        removed, after removing the others.
        """
        digests = set() if crops is None else {*_digests(crops)}
        return _remove(path for path in self._files() if _shows(path, features, digests))

    def clear(self) -> int:
        """Remove all encodings and stale temporary files; returns the number of encodings removed.

        Raises ``OSError`` for a file that cannot be removed, after removing the others.
        """
        return _remove(self._files())

    def _files(self) -> list[Path]:
        remove_stale(self.folder)
        return [*self.folder.glob(f"*{_SUFFIX}")]

    def _load(self, path: Path) -> IDFeatures | None:
        if not path.exists():
            return None
        try:
            features = IDFeatures.load(path)
            path.touch()
        except (UnknownCheckpointError, OSError):
            return None
        return features

    def _make_room(self) -> None:
        """Remove files by age, then by total size."""
        files: list[tuple[Path, os.stat_result]] = []
        for path in self._files():
            with suppress(FileNotFoundError):  # another process may remove files too
                files.append((path, path.stat()))
        excess = sum(stat.st_size for _, stat in files) - self.limit_bytes
        oldest = time.time() - self.limit_days * 86400
        for path, stat in sorted(files, key=lambda file: file[1].st_mtime_ns):
            if excess <= 0 and stat.st_mtime >= oldest:
                return
            with suppress(PermissionError):  # a read-only folder, which does not grow either
                path.unlink(missing_ok=True)
            excess -= stat.st_size


def _shows(path: Path, wanted: Sequence[IDFeatures], digests: set[str]) -> bool:
    """Whether a file holds one of these references or cannot be read."""
    try:
        kept, metadata = IDFeatures.load_with_metadata(path)
    except FileNotFoundError:
        return False
    except (UniIDError, OSError):
        return True
    if not digests.isdisjoint(metadata.get(_CROPS, "").split()):
        return True
    return any(_share_reference(kept, one) for one in wanted)


def _share_reference(kept: IDFeatures, wanted: IDFeatures) -> bool:
    # The smallest tensor says most about the person, and precision changes it least.
    shared = kept.tensors.keys() & wanted.tensors.keys()
    name = min(sorted(shared), key=lambda name: kept.tensors[name].numel(), default=None)
    if name is None:
        return False
    some, others = _by_reference(kept, name), _by_reference(wanted, name)
    return some.shape[1] == others.shape[1] and _nearest(some, others) < SAME


def _remove(paths: Iterable[Path]) -> int:
    """Remove files; returns the number removed. Raises an ``OSError`` after trying all of them."""
    gone, failed = 0, None
    for path in paths:
        try:
            path.unlink(missing_ok=True)
            gone += 1
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed
    return gone


def _by_reference(features: IDFeatures, name: str) -> Float[torch.Tensor, "r d"]:
    """A tensor with each reference as one row."""
    return features.tensors[name].float().cpu().reshape(features.references, -1)


def _nearest(some: Float[torch.Tensor, "r d"], others: Float[torch.Tensor, "s d"]) -> float:
    """The smallest distance between two rows, relative to the norm of the one in ``others``."""
    length = others.norm(dim=1).clamp_min(1e-6)
    return float((torch.cdist(some, others) / length).min())


def _digests(crops: UInt8[np.ndarray, "r 224 224 3"]) -> list[str]:
    """A key for each crop."""
    return [hashlib.sha256(np.ascontiguousarray(crop).tobytes()).hexdigest() for crop in crops]


def _key(fingerprint: str, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool) -> str:
    digest = hashlib.sha256(f"{fingerprint} {structure} {crops.shape}".encode())
    digest.update(np.ascontiguousarray(crops).tobytes())
    return digest.hexdigest()
