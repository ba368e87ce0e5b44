"""The CLIP image encoder, for files in the layout of transformers' ``CLIPVisionModelWithProjection``.

Sizes are derived from the tensors. The number of heads comes from the ``config.json`` beside the file, or is
ViT-H's. The network is implemented here, because not every WebUI has open_clip, whose installation requires
torchvision and may replace torch. Modules have the names of the file's tensors.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from lib_uniid.encoders.loading import load_frozen, require
from lib_uniid.encoders.pixels import CROP
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.typing import Float
from lib_uniid.weights import without_values

VIT_H_HEAD_WIDTH = 80
_WHAT = "the CLIP image encoder"
_EMBEDDINGS = "vision_model.embeddings."
_LAYER = "vision_model.encoder.layers."
_BUFFER = f"{_EMBEDDINGS}position_ids"  # saved by older releases of transformers


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        q, k, v = (
            rearrange(projection(x), "b t (h c) -> b h t c", h=self.heads)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(rearrange(scaled_dot_product_attention(q, k, v), "b h t c -> b t (h c)"))


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        return self.fc2(gelu(self.fc1(x)))


class _Layer(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn, self.mlp = _SelfAttention(width, heads), _MLP(width, hidden)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class _Embeddings(nn.Module):
    def __init__(self, width: int, patch: int, tokens: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, patch, bias=False)
        self.position_embedding = nn.Embedding(tokens + 1, width)

    def forward(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t d"]:
        patches = rearrange(self.patch_embedding(pixels), "b d h w -> b (h w) d")
        first = repeat(self.class_embedding, "d -> b 1 d", b=len(patches))
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class _Tower(nn.Module):
    """``vision_model`` and ``visual_projection``, under the names of the file."""

    def __init__(
        self, *, width: int, patch: int, tokens: int, layers: int, hidden: int, heads: int, projection: int
    ) -> None:
        super().__init__()
        self.vision_model = nn.ModuleDict(
            {
                "embeddings": _Embeddings(width, patch, tokens),
                "pre_layrnorm": nn.LayerNorm(width),  # transformers' own spelling
                "encoder": nn.ModuleDict(
                    {"layers": nn.ModuleList(_Layer(width, hidden, heads) for _ in range(layers))}
                ),
                "post_layernorm": nn.LayerNorm(width),
            }
        )
        self.visual_projection = nn.Linear(width, projection, bias=False)

    def hidden_states(self, pixels: Float[Tensor, "b 3 s s"], leave_out: int) -> Float[Tensor, "b t d"]:
        """Class token and patches after all layers but the last ``leave_out``, which are not run."""
        parts: Any = self.vision_model
        x = parts["pre_layrnorm"](parts["embeddings"](pixels))
        layers = parts["encoder"]["layers"]
        for layer in layers[: len(layers) - leave_out]:
            x = layer(x)
        return x

    def forward(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b p"]:
        first = self.hidden_states(pixels, 0)[:, 0]
        return self.visual_projection(self.vision_model["post_layernorm"](first))


class ClipVision(nn.Module):
    """A vision transformer with the two outputs that UniID uses.

    Attributes:
        size: side of the square input in pixels.
        width: channels of the hidden states.
        tokens: patches of one picture; the class token is not counted.
        projection: length of the pooled image embedding.
    """

    def __init__(self, tower: _Tower, *, size: int, width: int, tokens: int, projection: int) -> None:
        super().__init__()
        self.tower = tower
        self.size, self.width, self.tokens, self.projection = size, width, tokens, projection

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None
    ) -> "ClipVision":
        """Load ``CLIPVisionModelWithProjection``'s tensors exactly.

        Args:
            state: the file's tensors.
            config: the ``config.json`` beside it; without one, heads are 80 wide, as ViT-H's.

        Raises:
            CheckpointMismatchError: tensors or configuration do not fit.
        """
        patch_key, position_key = (
            f"{_EMBEDDINGS}patch_embedding.weight",
            f"{_EMBEDDINGS}position_embedding.weight",
        )
        first_mlp = f"{_LAYER}0.mlp.fc1.weight"
        require(state, (patch_key, position_key, first_mlp, "visual_projection.weight"), _WHAT)
        width, _, _, patch = state[patch_key].shape
        tokens = state[position_key].shape[0] - 1
        size = _input_size(tokens, patch)
        projection, mlp = state["visual_projection.weight"].shape[0], state[first_mlp].shape[0]
        with without_values():
            tower = _Tower(
                width=width,
                patch=patch,
                tokens=tokens,
                layers=_count_layers(state),
                hidden=mlp,
                heads=_count_heads(width, config or {}),
                projection=projection,
            )
        load_frozen(tower, {key: tensor for key, tensor in state.items() if key != _BUFFER}, _WHAT)
        return cls(tower, size=size, width=width, tokens=tokens, projection=projection)

    def penultimate(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t c"]:
        """Hidden states after the penultimate layer, without the class token and without the final norm.

        The last layer is not run.
        """
        return self.tower.hidden_states(pixels, 1)[:, 1:]

    def embed(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b p"]:
        """The pooled image embedding, not normalised (IP-Adapter's input)."""
        return self.tower(pixels)


def _input_size(tokens: int, patch: int) -> int:
    side = math.isqrt(tokens)
    size = side * patch
    if side**2 != tokens or not size or CROP % size:
        raise CheckpointMismatchError(
            f"{_WHAT} has {tokens} patches of {patch} px, which do not form a square that "
            f"divides a crop of {CROP} px; use the ViT-H image encoder of IP-Adapter",
            misshapen=[f"{_EMBEDDINGS}position_embedding.weight"],
        )
    return size


def _count_layers(state: Mapping[str, Tensor]) -> int:
    return len({key.removeprefix(_LAYER).split(".")[0] for key in state if key.startswith(_LAYER)})


def _count_heads(width: int, config: Mapping[str, Any]) -> int:
    config = config.get("vision_config", config)
    activation, eps = config.get("hidden_act", "gelu"), config.get("layer_norm_eps", 1e-5)
    if activation != "gelu" or eps != 1e-5:
        raise CheckpointMismatchError(
            f"config.json of {_WHAT} names activation {activation!r} and eps {eps}; "
            "'gelu' and 1e-05 are needed: use the ViT-H image encoder of IP-Adapter"
        )
    heads = config.get("num_attention_heads", width / VIT_H_HEAD_WIDTH)
    if heads < 1 or heads != int(heads) or width % heads:
        raise CheckpointMismatchError(
            f"{_WHAT} of width {width} cannot have {heads:g} heads; put this model's config.json beside it"
        )
    return int(heads)
