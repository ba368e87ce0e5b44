"""ID features: what one encoder makes of a person's reference pictures, as tensors by name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lib_uniid.errors import EncoderMismatchError, UnknownCheckpointError
from lib_uniid.files import replacing
from lib_uniid.weights import read_small

_FORMAT, _FIRST_FORMAT = "uniid-features-2", "uniid-features-1"
_MAX_REFERENCES, _MAX_TENSORS, _MAX_DIMENSIONS = 10_000, 64, 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IDFeatures:
    """An encoder's output for one person, before any trained module of a method.

    Attributes:
        tensors: by name, references concatenated along the first dimension; which names there are is up to
            the encoder.
        fingerprint: of the networks that made the tensors.
        references: number of reference pictures.
        core: fingerprint of the networks that make the tensors which the encoder always makes. Features of
            one core fit together, even if some of them lack the other tensors: their ``fingerprint`` is the
            core. Empty: the same as ``fingerprint``.
    """

    tensors: Mapping[str, Tensor]
    fingerprint: str
    references: int
    core: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", dict(self.tensors))
        object.__setattr__(self, "core", self.core or self.fingerprint)

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of this name; ``EncoderMismatchError`` if there is none."""
        if name not in self.tensors:
            raise EncoderMismatchError(
                f"these ID features hold {', '.join(self.tensors)} and no {name}: another encoder made them; "
                "enrol the person again from the pictures"
            )
        return self.tensors[name]

    def get(self, name: str) -> Tensor | None:
        """The tensor of this name; None if there is none."""
        return self.tensors.get(name)

    def require(self, other: "IDFeatures") -> None:
        """Check that ``other`` is of the same encoder, with all tensors or with those of the core alone.

        Raises:
            EncoderMismatchError: another encoder made them.
        """
        if other.fingerprint not in (self.fingerprint, self.core):
            raise EncoderMismatchError(
                f"these ID features were made by encoder {other.fingerprint}, not by {self.fingerprint}; "
                "enrol the person again from the pictures"
            )

    def joined(self, more: "IDFeatures") -> "IDFeatures":
        """With the references of ``more``, which is of the same fingerprint.

        Tensors that only one of them has are left out.
        """
        shared = {
            name: torch.cat([tensor, more.tensors[name].to(tensor)])
            for name, tensor in self.tensors.items()
            if name in more.tensors
        }
        return replace(self, tensors=shared, references=self.references + more.references)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> "IDFeatures":
        """Features from a file's contents; ``ValueError`` with the reason if they are invalid."""
        count, fingerprint = metadata.get("references", ""), metadata.get("fingerprint")
        if not count.isdecimal() or not 0 < int(count) <= _MAX_REFERENCES or not fingerprint:
            raise ValueError("it lacks the number of references or the encoders' fingerprint")
        features = cls(
            tensors=tensors,
            fingerprint=fingerprint,
            references=int(count),
            core=metadata.get("core") or _first_core(tensors, fingerprint),
        )
        features.check()
        if not features.finite:
            raise ValueError("it holds values that are NaN or infinite")
        return features

    def check(self) -> None:
        """Raise ``ValueError`` unless each tensor holds floating point numbers for each reference."""
        if not 0 < len(self.tensors) <= _MAX_TENSORS:
            message = f"{len(self.tensors)} tensors of ID features instead of 1 to {_MAX_TENSORS}"
            raise ValueError(message)
        for name, tensor in self.tensors.items():
            shape = tuple(tensor.shape)
            if not 2 <= len(shape) <= _MAX_DIMENSIONS or 0 in shape or shape[0] % self.references:
                message = f"{name} has the shape {shape}, and the number of references is {self.references}"
                raise ValueError(message)
            if not tensor.is_floating_point():
                message = f"{name} holds {tensor.dtype} instead of floating point numbers"
                raise ValueError(message)

    def to_cpu(self) -> "IDFeatures":
        """The same in float32 on the CPU, as it is stored and as methods read it."""
        return replace(
            self, tensors={name: tensor.to("cpu", torch.float32) for name, tensor in self.tensors.items()}
        )

    @property
    def finite(self) -> bool:
        """Whether all values are finite numbers."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.tensors.values())

    @property
    def metadata(self) -> dict[str, str]:
        """What :meth:`of` reads beside the tensors."""
        return {"fingerprint": self.fingerprint, "core": self.core, "references": str(self.references)}

    def save(self, path: Path, more: Mapping[str, str] | None = None) -> None:
        """Write a safetensors file, atomically, with ``more`` in its metadata."""
        from safetensors.torch import save_file

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        with replacing(path) as temporary:
            save_file(tensors, temporary, {**(more or {}), "format": _FORMAT, **self.metadata})

    @classmethod
    def load(cls, path: Path) -> "IDFeatures":
        """Read a file of ``save``; ``UnknownCheckpointError`` if it is missing, damaged, or no such file."""
        return cls.load_with_metadata(path)[0]

    @classmethod
    def load_with_metadata(cls, path: Path) -> tuple["IDFeatures", Mapping[str, str]]:
        """The same, and all metadata of the file."""
        from safetensors import SafetensorError

        try:
            tensors, metadata = read_small(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise UnknownCheckpointError(
                f"{path.name} cannot be read as ID features ({error}); enrol the person again"
            ) from error
        if metadata.get("format") not in (_FORMAT, _FIRST_FORMAT):
            raise UnknownCheckpointError(
                f"{path.name} does not hold ID features of this version; enrol the person again"
            )
        try:
            return cls.of(tensors, metadata), metadata
        except ValueError as error:
            raise UnknownCheckpointError(
                f"{path.name} is damaged ({error}); enrol the person again"
            ) from error


def _first_core(tensors: Mapping[str, Tensor], fingerprint: str) -> str:
    """The core in files of the first format, which have it before a "+" if they hold structure."""
    return fingerprint.partition("+")[0] if "structure" in tensors else fingerprint
