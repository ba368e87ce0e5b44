"""Both encoders together: aligned crops of one person to ID features (arXiv 2408.05939, section 3.1)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from lib_uniid.encoders.clip_names import open_clip_names
from lib_uniid.encoders.clip_vision import ClipVision
from lib_uniid.encoders.curricularface import CurricularFace
from lib_uniid.encoders.pixels import for_clip, for_recogniser, to_tensor
from lib_uniid.errors import EncoderMismatchError, MissingModelError, UnknownCheckpointError
from lib_uniid.files import replacing
from lib_uniid.typing import Float, UInt8
from lib_uniid.weights import read_small

_FORMAT = "uniid-features-1"
_MOST = 10_000  # references of one person
_SAMPLE = 4096  # elements of each tensor that enter a fingerprint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IDFeatures:
    """The encoders' output for one person, before any trained module of the method.

    Attributes:
        intrinsic: tokens of the recogniser's last tap, references concatenated; officially [49 r, 512].
        structure: shallow taps and CLIP's hidden states; officially [256 r, 448 + 1280]. None if not
            requested, which is exact at structure scale 0.
        fingerprint: of the encoders that were used; CLIP is part of it only with structure.
        references: number of reference pictures.
    """

    intrinsic: Float[Tensor, "t c"]
    structure: Float[Tensor, "n d"] | None
    fingerprint: str
    references: int

    def require(self, fingerprint: str) -> None:
        """Check that the encoder of this fingerprint made, or could have made, these features.

        Raises:
            EncoderMismatchError: another encoder made them.
        """
        if self.fingerprint != fingerprint and not fingerprint.startswith(f"{self.fingerprint}+"):
            raise EncoderMismatchError(
                f"these ID features were made by encoder {self.fingerprint}, not by {fingerprint}; "
                "enrol the person again from the pictures"
            )

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> "IDFeatures":
        """Features from a file's contents; ``ValueError`` with the reason if they are invalid."""
        count = metadata.get("references", "")
        if not count.isdecimal() or not 0 < int(count) <= _MOST or not metadata.get("fingerprint"):
            raise ValueError("it lacks the number of references or the encoders' fingerprint")
        for name in ("intrinsic", "structure"):
            tensor = tensors.get(name)
            if tensor is None and name == "structure":
                continue
            if tensor is None or tensor.ndim != 2 or not len(tensor):
                raise ValueError(f"{name} holds no tokens")
            if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} holds values that are NaN or infinite")
        if len(tensors["intrinsic"]) % int(count):
            raise ValueError(f"intrinsic does not hold the tokens of {count} references")
        return cls(
            intrinsic=tensors["intrinsic"],
            structure=tensors.get("structure"),
            fingerprint=metadata["fingerprint"],
            references=int(count),
        )

    def to_cpu(self) -> "IDFeatures":
        """The same in float32 on the CPU, as it is stored and as the resampler reads it."""
        structure = None if self.structure is None else self.structure.to("cpu", torch.float32)
        return replace(self, intrinsic=self.intrinsic.to("cpu", torch.float32), structure=structure)

    @property
    def finite(self) -> bool:
        """Whether all values are finite numbers."""
        parts = (self.intrinsic, self.structure)
        return all(part is None or bool(torch.isfinite(part).all()) for part in parts)

    def save(self, path: Path) -> None:
        """Write a safetensors file, atomically, with the fingerprint in its metadata."""
        from safetensors.torch import save_file

        tensors = {"intrinsic": self.intrinsic.detach().cpu().contiguous()}
        if self.structure is not None:
            tensors["structure"] = self.structure.detach().cpu().contiguous()
        metadata = {"format": _FORMAT, "fingerprint": self.fingerprint, "references": str(self.references)}
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, path: Path, fingerprint: str | None = None) -> "IDFeatures":
        """Read a file of ``save``.

        Args:
            path: the file.
            fingerprint: of the encoder in use; None skips the comparison.

        Raises:
            UnknownCheckpointError: missing, damaged, or not a file of ``save``.
            EncoderMismatchError: another encoder made the features.
        """
        from safetensors import SafetensorError

        try:
            tensors, metadata = read_small(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise UnknownCheckpointError(
                f"{path.name} cannot be read as ID features ({error}); enrol the person again"
            ) from error
        if metadata.get("format") != _FORMAT:
            raise UnknownCheckpointError(
                f"{path.name} does not hold ID features of this version; enrol the person again"
            )
        try:
            features = cls.of(tensors, metadata)
        except ValueError as error:
            raise UnknownCheckpointError(
                f"{path.name} is damaged ({error}); enrol the person again"
            ) from error
        if fingerprint is not None:
            features.require(fingerprint)
        return features


class IDEncoder:
    """A face recogniser and, for the face structure, a CLIP image tower.

    Both keep their device and type.
    """

    def __init__(self, backbone: CurricularFace, clip: ClipVision | None) -> None:
        self.backbone, self.clip = backbone, clip
        self._recogniser_fingerprint = _fingerprint(_used_of(backbone))
        self._clip_fingerprint = None if clip is None else _fingerprint(_named(clip))
        self._uncond: dict[bool, IDFeatures] = {}

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks."""
        return (self.backbone,) if self.clip is None else (self.backbone, self.clip)

    @property
    def reads_structure(self) -> bool:
        """Whether it has the CLIP image encoder."""
        return self.clip is not None

    def in_float32(self) -> None:
        """Convert the networks to float32, if half precision overflowed."""
        self._uncond.clear()
        for module in self.modules:
            module.float()

    @property
    def fingerprint(self) -> str:
        """Fingerprint of all encoders."""
        return self._name(structure=self.reads_structure)

    def encode(self, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True) -> IDFeatures:
        """ID features of one person from aligned crops; the tokens of several references are concatenated.

        Raises:
            MissingModelError: structure is requested without a CLIP image encoder.
        """
        intrinsic, shape = self.per_reference(crops, structure)
        return IDFeatures(
            intrinsic=rearrange(intrinsic, "r t c -> (r t) c"),
            structure=None if shape is None else rearrange(shape, "r n d -> (r n) d"),
            fingerprint=self._name(structure),
            references=len(crops),
        )

    @torch.no_grad()
    def per_reference(
        self, crops: UInt8[np.ndarray, "r 224 224 3"], structure: bool = True
    ) -> tuple[Float[Tensor, "r t c"], Float[Tensor, "r n d"] | None]:
        """The same before concatenation: intrinsic and structure tokens of each crop."""
        values = to_tensor(crops)
        pixels = for_recogniser(values.to(_device(self.backbone)), self.backbone.sizes.input_size)
        *shallow, deep = self.backbone(pixels.to(_type(self.backbone)))
        intrinsic = rearrange(deep, "r c h w -> r (h w) c")
        if not structure:
            return intrinsic, None
        clip = self._require_clip()
        local = clip.penultimate(for_clip(values.to(_device(clip)), clip.size).to(_type(clip)))
        return intrinsic, torch.cat([_on_grid(shallow, clip.tokens).to(local), local], dim=-1)

    @torch.no_grad()
    def uncond(self, structure: bool = True) -> IDFeatures:
        """The features of the null identity: zero taps, and CLIP's encoding of the mean colour.

        This follows the official code of arXiv 2408.05939. They have as many tokens as one reference, are the
        same for all identities, and are computed once.
        """
        if structure not in self._uncond:
            self._uncond[structure] = self._encode_null(structure)
        return self._uncond[structure]

    def _encode_null(self, structure: bool) -> IDFeatures:
        sizes = self.backbone.sizes
        intrinsic = torch.zeros(sizes.final_size**2, sizes.widths[-1])
        return IDFeatures(
            intrinsic=intrinsic.to(next(self.backbone.parameters())),
            structure=self._null_structure() if structure else None,
            fingerprint=self._name(structure),
            references=1,
        )

    def _null_structure(self) -> Float[Tensor, "n d"]:
        clip, sizes = self._require_clip(), self.backbone.sizes
        mean_colour = torch.zeros(1, 3, clip.size, clip.size, device=_device(clip), dtype=_type(clip))
        local = clip.penultimate(mean_colour)[0]
        shallow = sum(sizes.widths[tap] for tap in sizes.taps[:-1])
        return torch.cat([local.new_zeros(clip.tokens, shallow), local], dim=-1)

    def _require_clip(self) -> ClipVision:
        if self.clip is None:
            raise MissingModelError(
                "face structure needs the CLIP image encoder; add its file, or set the structure scale to 0"
            )
        return self.clip

    def _name(self, structure: bool) -> str:
        if structure and self._clip_fingerprint is not None:
            return f"{self._recogniser_fingerprint}+{self._clip_fingerprint}"
        return self._recogniser_fingerprint


def _on_grid(taps: Iterable[Float[Tensor, "r _ _ _"]], tokens: int) -> Float[Tensor, "r n d"]:
    """Taps resized to CLIP's grid (bilinear, without antialiasing) and joined on channels, finest first."""
    side = round(tokens**0.5)
    resized = [
        functional.interpolate(tap, size=(side, side), mode="bilinear", align_corners=False) for tap in taps
    ]
    return rearrange(torch.cat(resized, dim=1), "r d h w -> r (h w) d")


def _used_of(backbone: CurricularFace) -> dict[str, tuple[Tensor, ...]]:
    """The tensors without the head, which the features do not use."""
    tensors = backbone.state_dict().items()
    return {key: (tensor,) for key, tensor in tensors if key.split(".")[0] in {"input_layer", "body"}}


def _named(clip: ClipVision) -> dict[str, tuple[Tensor, ...]]:
    return {f"tower.{name}": parts for name, parts in open_clip_names(clip.tower.state_dict()).items()}


def _fingerprint(tensors: Mapping[str, tuple[Tensor, ...]]) -> str:
    """A hash of weights, twelve hex digits; the parts of a tensor are joined.

    It covers names, shapes and an even sample of every tensor in half precision: a half-precision copy of the
    same weights has the same fingerprint, and only a part of the 632 million parameters is hashed.
    """
    digest = hashlib.sha256()
    for key, parts in sorted(tensors.items()):
        tensor = next(iter(parts)) if len(parts) == 1 else torch.cat(parts)
        step = max(1, tensor.numel() // _SAMPLE)
        digest.update(json.dumps([key, *tensor.shape]).encode())
        digest.update(tensor.detach().flatten()[::step].to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:12]


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _type(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
