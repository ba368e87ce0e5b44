"""Encodings on disk: the same crop through the same encoder is computed once."""

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange

from lib_uniid.encoders.identity import IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, UniIDError, UnknownCheckpointError
from lib_uniid.files import private_folder, remove_stale
from lib_uniid.typing import Float, UInt8

SAME = 0.03
"""Relative distance below which two encodings are of one crop: half precision and devices differ by less."""

_SUFFIX = ".features.safetensors"


@runtime_checkable
class Encoder(Protocol):
    """What :class:`lib_uniid.encoders.identity.IDEncoder` is to the cache."""

    @property
    def fingerprint(self) -> str:
        """Of all encoders there are."""
        ...

    def encode(self, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True) -> IDFeatures:
        """ID features of one person from aligned crops."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingCache:
    """A folder of ID features under names made from content; the least recently used go first.

    The features of people who are enrolled are in it, and those of people who were only shown in pictures.

    Attributes:
        folder: made when something is stored; only its owner may read it.
        limit_bytes: of all files together; one reference takes about 2 MB at the official sizes.
        limit_days: features that were not used for so long are removed at the next use of the cache.
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
        """``encoder.encode``, from the folder where it is there; a damaged file counts as absent."""
        path = self.folder / f"{_key(encoder.fingerprint, crops, structure)}{_SUFFIX}"
        features = self._load(path, encoder.fingerprint)
        if features is None:
            features = encoder.encode(crops, structure)
            private_folder(self.folder)
            features.save(path)
        self._make_room()
        return features

    def forget(self, features: IDFeatures) -> int:
        """Remove every encoding with a reference of these features in it, alone or with others; how many.

        Damaged files are removed too: whom they show cannot be known. Raises ``OSError`` for a file that
        cannot be removed, after the others are.
        """
        wanted = _by_reference(features)
        return _remove(path for path in self._files() if _shows(path, wanted))

    def clear(self) -> int:
        """Remove all encodings, and what killed writers left; how many. They are made again when needed.

        Raises ``OSError`` for a file that cannot be removed, after the others are.
        """
        return _remove(self._files())

    def _files(self) -> list[Path]:
        remove_stale(self.folder)
        return [*self.folder.glob(f"*{_SUFFIX}")]

    def _load(self, path: Path, fingerprint: str) -> IDFeatures | None:
        if not path.exists():
            return None
        try:
            features = IDFeatures.load(path, fingerprint)
            path.touch()
        except (UnknownCheckpointError, EncoderMismatchError, OSError):
            return None
        return features

    def _make_room(self) -> None:
        """By age, and then by size."""
        files: list[tuple[Path, os.stat_result]] = []
        for path in self._files():
            with suppress(FileNotFoundError):  # another process may make room as well
                files.append((path, path.stat()))
        excess = sum(stat.st_size for _, stat in files) - self.limit_bytes
        oldest = time.time() - self.limit_days * 86400
        for path, stat in sorted(files, key=lambda file: file[1].st_mtime_ns):
            if excess <= 0 and stat.st_mtime >= oldest:
                return
            with suppress(PermissionError):  # a folder that is read-only: nothing comes in either
                path.unlink(missing_ok=True)
            excess -= stat.st_size


def _shows(path: Path, wanted: Float[torch.Tensor, "r d"]) -> bool:
    """Whether a file holds one of these references, or cannot be read."""
    try:
        kept = _by_reference(IDFeatures.load(path))
    except FileNotFoundError:
        return False
    except (UniIDError, OSError):
        return True
    return kept.shape[1] == wanted.shape[1] and _nearest(kept, wanted) < SAME


def _remove(paths: Iterable[Path]) -> int:
    """Remove files; how many. An ``OSError`` comes after all of them were tried."""
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


def _by_reference(features: IDFeatures) -> Float[torch.Tensor, "r d"]:
    """The intrinsic tokens of each reference in a row."""
    return rearrange(features.intrinsic.float().cpu(), "(r t) c -> r (t c)", r=features.references)


def _nearest(some: Float[torch.Tensor, "r d"], others: Float[torch.Tensor, "s d"]) -> float:
    """The smallest distance between two of them, as a share of the length of the one in ``others``."""
    length = others.norm(dim=1).clamp_min(1e-6)
    return float((torch.cdist(some, others) / length).min())


def _key(fingerprint: str, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool) -> str:
    digest = hashlib.sha256(f"{fingerprint} {structure} {crops.shape}".encode())
    digest.update(np.ascontiguousarray(crops).tobytes())
    return digest.hexdigest()
