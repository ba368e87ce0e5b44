"""Encodings on disk: the same crop through the same encoder is computed once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from lib_uniid.encoders.identity import IDEncoder, IDFeatures
from lib_uniid.errors import ConfigError, EncoderMismatchError, UnknownCheckpointError
from lib_uniid.typing import Float, UInt8

SAME = 0.03
"""Relative distance below which two encodings are of one crop: half precision and devices differ by less."""

_SUFFIX = ".features.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingCache:
    """A folder of ID features under names made from content; the least recently used go first.

    Attributes:
        folder: made when something is stored.
        limit_bytes: of all files together; one reference takes about 2 MB at the official sizes.
    """

    folder: Path
    limit_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        if self.limit_bytes < 0:
            raise ConfigError(
                f"the size limit of the encoding cache must not be negative, got {self.limit_bytes}"
            )

    def encode(
        self, encoder: IDEncoder, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True
    ) -> IDFeatures:
        """``encoder.encode``, from the folder where it is there; a damaged file counts as absent."""
        path = self.folder / f"{_key(encoder.fingerprint, crops, structure)}{_SUFFIX}"
        features = self._load(path, encoder.fingerprint)
        if features is None:
            features = encoder.encode(crops, structure)
            features.save(path)
            self._make_room()
        return features

    def forget(self, features: IDFeatures) -> int:
        """Remove every encoding with a reference of these features in it, alone or with others; how many."""
        wanted, gone = _by_reference(features), 0
        for path in self.folder.glob(f"*{_SUFFIX}"):
            try:
                kept = _by_reference(IDFeatures.load(path))
            except (UnknownCheckpointError, OSError):
                continue  # damaged, so it shows nobody; or gone already
            if kept.shape[1] == wanted.shape[1] and _nearest(kept, wanted) < SAME:
                path.unlink(missing_ok=True)
                gone += 1
        return gone

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
        files = [(path, path.stat()) for path in self.folder.glob(f"*{_SUFFIX}")]
        excess = sum(stat.st_size for _, stat in files) - self.limit_bytes
        for path, stat in sorted(files, key=lambda file: file[1].st_mtime_ns):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)  # another process may have made room as well
            excess -= stat.st_size


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
