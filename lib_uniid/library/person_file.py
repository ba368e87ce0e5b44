"""The file of one person: a safetensors file with everything that is kept of them.

The second format has the embedding, the crops as unsigned bytes, and the features of each encoder under
``<number>.<name of the tensor>``; the encoders are in the metadata. The first one has the features of a
single encoder, which it does not name, and no crops.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lib_uniid import json_text
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.encoders.pixels import CROP
from lib_uniid.errors import ConfigError, UnknownCheckpointError
from lib_uniid.files import replacing
from lib_uniid.library.identity import FIRST_ENCODER, Identity
from lib_uniid.library.names import normal
from lib_uniid.typing import Float32
from lib_uniid.weights import read_small

FORMAT, FIRST_FORMAT = "uniid-person-2", "uniid-person-1"

_EMBEDDING, _CROPS = "embedding", "crops"
_MAX_ENCODERS = 64


def write(path: Path, person: Identity) -> Path:
    """Write the person, atomically; returns the path. Raises ``OSError``."""
    data = _serialise(person)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path


def read(path: Path) -> Identity:
    """The person in a file; ``UnknownCheckpointError`` if it cannot be read as one."""
    try:
        tensors, metadata = read_small(path)
        embedding = tensors.pop(_EMBEDDING).numpy()
        crops = tensors.pop(_CROPS).numpy() if _CROPS in tensors else None
        features = _features(tensors, metadata)
        _check(embedding, crops, features)
        return Identity(
            name=normal(metadata["name"]),
            features=features,
            embedding=embedding,
            crops=crops,
            recogniser=metadata.get("recogniser"),
            file=path,
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, ConfigError) as error:
        raise UnknownCheckpointError(
            f"{path.name} cannot be read as a person ({error}); enrol the person again"
        ) from error


def name_in(path: Path) -> str | None:
    """The person's name in a file; None for any other file."""
    metadata = _metadata(path)
    return normal(metadata.get("name", "")) if metadata.get("format") in (FORMAT, FIRST_FORMAT) else None


def embedding_in(path: Path, recogniser: str | None) -> Float32[np.ndarray, " d"] | None:
    """The embedding in a file; None if another recogniser made it, or the file is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            same = (file.metadata() or {}).get("recogniser") == recogniser
            return file.get_tensor(_EMBEDDING).astype(np.float32) if same else None
    except (OSError, SafetensorError):
        return None


def _serialise(person: Identity) -> bytes:
    tensors = {_EMBEDDING: torch.from_numpy(person.embedding)}
    if person.crops is not None:
        tensors[_CROPS] = torch.from_numpy(np.ascontiguousarray(person.crops))
    encoders: list[dict[str, str]] = []
    for number, (encoder, features) in enumerate(person.features.items()):
        encoders.append({"name": encoder, **features.metadata})
        for name, tensor in features.tensors.items():
            tensors[f"{number}.{name}"] = tensor.detach().cpu().contiguous()
    metadata = {"format": FORMAT, "name": person.name, "encoders": json.dumps(encoders)}
    if person.recogniser is not None:
        metadata["recogniser"] = person.recogniser
    return save(tensors, metadata)


def _features(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, IDFeatures]:
    """By encoder. Raises ``ValueError``, ``KeyError`` and ``TypeError``."""
    if metadata["format"] == FIRST_FORMAT:
        return {FIRST_ENCODER: IDFeatures.of(tensors, metadata)}
    encoders: Any = json_text.parsed(metadata["encoders"])
    if not isinstance(encoders, list) or len(encoders) > _MAX_ENCODERS:  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError("its list of encoders is damaged")
    features: dict[str, IDFeatures] = {}
    for number, entry in enumerate(encoders):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        own = {
            name.removeprefix(f"{number}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{number}.")
        }
        values = {str(key): str(value) for key, value in dict(entry).items()}  # pyright: ignore
        features[values["name"]] = IDFeatures.of(own, values)
    return features


def _check(embedding: np.ndarray, crops: np.ndarray | None, features: Mapping[str, IDFeatures]) -> None:
    """Raise ``ValueError`` for a wrong embedding, and for crops and features of unequal references."""
    if embedding.ndim != 1 or embedding.dtype != np.float32 or not np.isfinite(embedding).all():
        raise ValueError("its embedding is not a vector of finite numbers")
    if crops is None:
        return
    if crops.dtype != np.uint8 or not len(crops) or crops.shape != (len(crops), CROP, CROP, 3):
        message = f"crops of the shape {crops.shape} and the type {crops.dtype}"
        raise ValueError(message)
    if any(one.references != len(crops) for one in features.values()):
        message = f"features that are not of {len(crops)} references"
        raise ValueError(message)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}
