"""Both encoders together: aligned crops of one person to ID features (arXiv 2408.05939, section 3.1)."""

from collections.abc import Iterable

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from lib_uniid.encoders.clip_names import open_clip_names
from lib_uniid.encoders.clip_vision import ClipVision
from lib_uniid.encoders.curricularface import CurricularFace
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.encoders.fingerprint import fingerprint_of
from lib_uniid.encoders.pixels import for_clip, for_recogniser, to_tensor
from lib_uniid.errors import MissingModelError
from lib_uniid.typing import Float, UInt8


class IDEncoder:
    """A face recogniser and, for the face structure, a CLIP image tower.

    Both keep their device and type. The features of ``r`` references are

    * ``intrinsic``: tokens of the recogniser's last tap; officially [49 r, 512].
    * ``structure``: shallow taps and CLIP's hidden states; officially [256 r, 448 + 1280]. It is left out if
      it is not requested, which is exact at structure scale 0.

    The fingerprint is that of both networks, and without structure that of the recogniser alone.
    """

    def __init__(self, backbone: CurricularFace, clip: ClipVision | None) -> None:
        self.backbone, self.clip = backbone, clip
        self._recogniser_fingerprint = fingerprint_of(_used_of(backbone))
        self._clip_fingerprint = None if clip is None else fingerprint_of(_named(clip))
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
        return self._features(
            rearrange(intrinsic, "r t c -> (r t) c"),
            None if shape is None else rearrange(shape, "r n d -> (r n) d"),
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
        return self._features(
            intrinsic.to(next(self.backbone.parameters())),
            self._null_structure() if structure else None,
            references=1,
        )

    def _features(
        self, intrinsic: Float[Tensor, "t c"], structure: Float[Tensor, "n d"] | None, references: int
    ) -> IDFeatures:
        tensors = (
            {"intrinsic": intrinsic}
            if structure is None
            else {"intrinsic": intrinsic, "structure": structure}
        )
        return IDFeatures(
            tensors=tensors,
            fingerprint=self._name(structure is not None),
            references=references,
            core=self._recogniser_fingerprint,
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


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _type(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
