"""UniID's adapter branch: the face as tokens that every cross-attention layer reads beside the text.

Names of modules and parameters are those of the published ``adapter_branch`` file, without its prefix.
"""

from collections.abc import Mapping, Sequence

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from lib_uniid.methods.perceiver import HEAD_WIDTH, layers
from lib_uniid.typing import Float
from lib_uniid.weights import load_exactly, shape_of, without_values

PART = "adapter_branch"
GRID = 16
"""Side of the grid to which the first three taps are resized."""


class FaceResampler(nn.Module):
    """Learned latents read the last tap, then the finer ones, layer by layer."""

    def __init__(
        self,
        *,
        shallow: int,
        deep: int,
        dim: int,
        depth: int,
        heads: int,
        head_width: int,
        mult: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.proj_face_recog_model_layers = nn.ModuleList([nn.Linear(shallow, dim), nn.Linear(deep, dim)])
        self.layers = layers(depth, reads=2, dim=dim, heads=heads, head_width=head_width, mult=mult)
        self.proj_out = nn.Linear(dim, outputs)
        self.norm_out = nn.LayerNorm(outputs)

    def forward(
        self, latents: Float[Tensor, "b k d"], shallow: Float[Tensor, "b n s"], deep: Float[Tensor, "b t c"]
    ) -> Float[Tensor, "b k o"]:
        project_shallow, project_deep = self.proj_face_recog_model_layers
        shallow, deep = project_shallow(shallow), project_deep(deep)
        for layer in self.layers:
            read_deep, read_shallow, forward = layer.children()
            latents = read_deep(deep, latents) + latents
            latents = read_shallow(shallow, latents) + latents
            latents = forward(latents) + latents
        return self.norm_out(self.proj_out(latents))


class AdapterBranch(nn.Module):
    """The latents and their resampler; officially 25 tokens of 2048 channels, dim 768, depth 6.

    ``reads`` has the channels of the first three taps together, and of the last.
    """

    def __init__(
        self,
        *,
        tokens: int,
        shallow: int,
        deep: int,
        dim: int,
        depth: int,
        heads: int,
        head_width: int = HEAD_WIDTH,
        mult: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.reads = shallow, deep
        self.latents = nn.Parameter(torch.randn(1, tokens, dim) / dim**0.5)
        self.adapter_resampler = FaceResampler(
            shallow=shallow,
            deep=deep,
            dim=dim,
            depth=depth,
            heads=heads,
            head_width=head_width,
            mult=mult,
            outputs=outputs,
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], head_width: int = HEAD_WIDTH) -> "AdapterBranch":
        """Build the branch that these tensors are of; all sizes but the head width are read off them.

        The tensors are taken over, not copied, in their own precision. Raises CheckpointMismatchError naming
        the tensors that are missing, unexpected or of a wrong shape.
        """
        resampler = "adapter_resampler"
        projections = f"{resampler}.proj_face_recog_model_layers"
        _, tokens, dim = shape_of(state, "latents", PART, dimensions=3)
        with without_values():
            branch = cls(
                tokens=tokens,
                shallow=shape_of(state, f"{projections}.0.weight", PART)[1],
                deep=shape_of(state, f"{projections}.1.weight", PART)[1],
                dim=dim,
                depth=len({name.split(".")[2] for name in state if name.startswith(f"{resampler}.layers.")}),
                heads=shape_of(state, f"{resampler}.layers.0.0.to_q.weight", PART)[0] // head_width,
                head_width=head_width,
                mult=shape_of(state, f"{resampler}.layers.0.2.1.weight", PART)[0] // dim,
                outputs=shape_of(state, f"{resampler}.proj_out.weight", PART)[0],
            )
        load_exactly(branch, state, PART)
        return branch

    def forward(self, taps: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b k o"]:
        """Tokens from the four taps, fine to coarse. Taps of zeros give the tokens of the uncond rows."""
        *finer, last = taps
        latents = repeat(self.latents, "1 k d -> b k d", b=len(last))
        return self.adapter_resampler(latents, on_one_grid(finer), rearrange(last, "b c h w -> b (h w) c"))


def on_one_grid(taps: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b n c"]:
    """Taps resized (bilinear, without antialiasing) and joined on the channels, finest first."""
    resized = [
        functional.interpolate(tap, size=(GRID, GRID), mode="bilinear", align_corners=False) for tap in taps
    ]
    return rearrange(torch.cat(resized, dim=1), "b c h w -> b (h w) c")
