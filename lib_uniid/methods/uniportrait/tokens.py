"""UniPortrait's ID embedding module: ID features -> identity tokens (arXiv 2408.05939, section 3.1).

Names of modules and parameters are those of ``faceid_proj`` in ``uniportrait-faceid_sd15.bin``.
"""

import math
from collections.abc import Mapping

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from lib_uniid.errors import ConfigError, EncoderMismatchError
from lib_uniid.methods.perceiver import HEAD_WIDTH, layers
from lib_uniid.typing import Float
from lib_uniid.weights import load_exactly, shape_of, without_values

PART = "faceid_proj"
DROPPED = -100.0  # added to the logit of a dropped token; exp(-100) leaves nothing in float32


class Resampler(nn.Module):
    """Learned latents read the intrinsic features, then the structure features, layer by layer.

    The defaults are the published sizes.
    """

    def __init__(
        self,
        *,
        intrinsic_id_embedding_dim: int = 512,
        structure_embedding_dim: int = 1728,
        num_tokens: int = 16,
        depth: int = 6,
        dim: int = 768,
        dim_head: int = HEAD_WIDTH,
        heads: int = 12,
        ff_mult: int = 4,
        output_dim: int = 768,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, num_tokens, dim) / math.sqrt(dim))
        self.proj_id = _projection(intrinsic_id_embedding_dim, dim)
        self.proj_clip = _projection(structure_embedding_dim, dim)
        self.layers = layers(depth, reads=2, dim=dim, heads=heads, head_width=dim_head, mult=ff_mult)
        self.proj_out = nn.Linear(dim, output_dim)
        self.norm_out = nn.LayerNorm(output_dim)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], dim_head: int = HEAD_WIDTH) -> "Resampler":
        """Build the resampler that these tensors are of; all sizes but the head width are read off them.

        The tensors are taken over, not copied, in their own precision. Raises CheckpointMismatchError naming
        the tensors that are missing, unexpected or of a wrong shape.
        """
        sizes = _sizes(state, dim_head)
        with without_values():
            resampler = cls(dim_head=dim_head, **sizes)
        load_exactly(resampler, state, PART)
        return resampler

    def forward(
        self,
        intrinsic: Float[Tensor, "b t c"],
        structure: Float[Tensor, "b n s"] | None = None,
        structure_scale: float | Float[Tensor, "b 1 1"] = 1.0,
        *,
        intrinsic_keep: Float[Tensor, "b t 1"] | None = None,
        structure_keep: Float[Tensor, "b n 1"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """Several references of one person are concatenated along the tokens ``t`` and ``n``.

        ``structure_scale`` multiplies what the structure attention adds; the number 0 skips it altogether, a
        tensor sets it per row (DropPath). The keep-masks hold 1 for a token and 0 for a dropped one
        (DropToken). Raises ConfigError when structure is called for and not given.
        """
        latents = repeat(self.latents, "1 k d -> b k d", b=intrinsic.shape[0])
        identity, identity_bias = self.proj_id(intrinsic), self._bias(intrinsic_keep)
        shape, shape_bias = self._structure(structure, structure_scale), self._bias(structure_keep)
        for layer in self.layers:
            read_identity, read_structure, feed_forward = layer.children()
            latents = read_identity(identity, latents, identity_bias) + latents
            if shape is not None:
                latents = structure_scale * read_structure(shape, latents, shape_bias) + latents
            latents = feed_forward(latents) + latents
        return self.norm_out(self.proj_out(latents))

    def _structure(
        self, structure: Float[Tensor, "b n s"] | None, scale: float | Tensor
    ) -> Float[Tensor, "b n d"] | None:
        if not isinstance(scale, Tensor) and scale == 0.0:
            return None
        if structure is None:
            raise ConfigError(
                f"structure scale {scale} needs structure features and there are none; "
                "set it to 0, or encode the references with structure"
            )
        return self.proj_clip(structure)

    def _bias(self, keep: Float[Tensor, "b t 1"] | None) -> Float[Tensor, "b 1 1 s"] | None:
        if keep is None:
            return None
        bias = functional.pad(rearrange((1.0 - keep) * DROPPED, "b t 1 -> b t"), (0, self.latents.shape[1]))
        return rearrange(bias, "b s -> b 1 1 s")


def identity_tokens(
    resampler: Resampler,
    intrinsic: Float[Tensor, "*b t c"],
    structure: Float[Tensor, "*b n s"] | None,
    structure_scale: float,
) -> Float[Tensor, "*b k d"]:
    """Make the identity tokens of one person (``t c``) or of a batch of persons (``b t c``).

    Raises EncoderMismatchError when the features are not of the width that the weights read.
    """
    _require_width("intrinsic", intrinsic, resampler.proj_id)
    if structure is not None and structure_scale != 0.0:
        _require_width("structure", structure, resampler.proj_clip)
    if intrinsic.ndim == 3:
        return resampler(intrinsic, structure, structure_scale)
    return resampler(intrinsic[None], None if structure is None else structure[None], structure_scale)[0]


def uncond_tokens(
    resampler: Resampler,
    intrinsic_length: int,
    structure: Float[Tensor, "n s"] | None,
    structure_scale: float,
) -> Float[Tensor, "k d"]:
    """Make the tokens of the uncond rows: those of the null identity, not zeros.

    ``intrinsic_length`` is the number of intrinsic tokens of one reference (49 for IR-101 at 112 pixels) and
    ``structure`` that of an all-zero normalised picture (zero shallow channels, CLIP's own values).
    """
    width = _input_width(resampler.proj_id)
    zeros = resampler.latents.new_zeros(intrinsic_length, width)
    return identity_tokens(resampler, zeros, structure, structure_scale)


def _projection(width: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, dim))


def _sizes(state: Mapping[str, Tensor], dim_head: int) -> dict[str, int]:
    _, tokens, dim = shape_of(state, "latents", PART, dimensions=3)
    layers = {name.split(".")[1] for name in state if name.startswith("layers.")}
    return {
        "intrinsic_id_embedding_dim": shape_of(state, "proj_id.0.weight", PART)[1],
        "structure_embedding_dim": shape_of(state, "proj_clip.0.weight", PART)[1],
        "num_tokens": tokens,
        "depth": len(layers),
        "dim": dim,
        "heads": shape_of(state, "layers.0.0.to_q.weight", PART)[0] // dim_head,
        "ff_mult": shape_of(state, "layers.0.2.1.weight", PART)[0] // dim,
        "output_dim": shape_of(state, "proj_out.weight", PART)[0],
    }


def _input_width(projection: nn.Sequential) -> int:
    first = projection[0]
    assert isinstance(first, nn.Linear)
    return first.in_features


def _require_width(kind: str, features: Tensor, projection: nn.Sequential) -> None:
    expected = _input_width(projection)
    if features.shape[-1] != expected:
        raise EncoderMismatchError(
            f"the {kind} features are {features.shape[-1]} wide and these weights read {expected}; "
            "encode the references again with the encoders that belong to the weights"
        )
