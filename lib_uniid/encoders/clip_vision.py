"""The CLIP image tower (spec section 3): open_clip's module, the published transformers-layout file.

Sizes are read off the tensors; the number of heads cannot be seen there and comes from the ``config.json``
beside the file, or is ViT-H's.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from lib_uniid.encoders.loading import load_frozen, require
from lib_uniid.encoders.pixels import CROP
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.typing import Float

VIT_H_HEAD_WIDTH = 80
_WHAT = "the CLIP image encoder"
_EMBEDDINGS = "vision_model.embeddings."
_LAYER = "vision_model.encoder.layers."

# transformers' names of one layer's tensors -> open_clip's; query, key and value are joined besides.
_LAYER_NAMES = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
# "pre_layrnorm" is transformers' own spelling.
_NORM_NAMES = {"vision_model.pre_layrnorm": "ln_pre", "vision_model.post_layernorm": "ln_post"}


class ClipVision(nn.Module):
    """A vision transformer seen through the two outputs that are used.

    Attributes:
        size: side of the square input in pixels.
        width: channels of the hidden states.
        tokens: patches of one picture; the class token is not counted.
        projection: length of the pooled image embedding.
    """

    def __init__(self, tower: nn.Module, *, size: int, width: int, tokens: int, projection: int) -> None:
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
            config: the ``config.json`` beside it; without one heads are taken to be 80 wide, as ViT-H's.

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
        tower = _build(
            image_size=size,
            patch_size=patch,
            width=width,
            layers=_count_layers(state),
            heads=_count_heads(width, config or {}),
            # open_clip rounds width * ratio down
            mlp_ratio=(mlp + 0.5) / width,
            output_dim=projection,
        )
        load_frozen(tower, _renamed(state), _WHAT)
        return cls(tower, size=size, width=width, tokens=tokens, projection=projection)

    def penultimate(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t c"]:
        """Hidden states after the last layer but one, without the class token and without the final norm.

        The last layer is not run.
        """
        tower: Any = self.tower
        patches = rearrange(tower.conv1(pixels), "b c h w -> b (h w) c")
        first = repeat(tower.class_embedding, "c -> b 1 c", b=len(patches))
        x = tower.ln_pre(torch.cat([first, patches], dim=1) + tower.positional_embedding)
        blocks = tower.transformer.resblocks[:-1]
        # open_clip 2.20, which the WebUIs pin, runs its blocks with tokens before rows.
        tokens_first = not tower.transformer.resblocks[-1].attn.batch_first
        x = x.transpose(0, 1) if tokens_first else x
        for block in blocks:
            x = block(x)
        x = x.transpose(0, 1) if tokens_first else x
        return x[:, 1:]

    def embed(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b p"]:
        """The pooled image embedding, not normalised (IP-Adapter's input)."""
        return self.tower(pixels)


def _build(**sizes: Any) -> nn.Module:
    from open_clip.transformer import VisionTransformer

    with torch.device("meta"):  # the weights come from the file; random ones would cost ten seconds
        return VisionTransformer(act_layer=nn.GELU, norm_layer=nn.LayerNorm, **sizes)


def _input_size(tokens: int, patch: int) -> int:
    side = math.isqrt(tokens)
    size = side * patch
    if side**2 != tokens or not size or CROP % size:
        raise CheckpointMismatchError(
            f"{_WHAT} has {tokens} patches of {patch} px, which make no square that "
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
            "this tower needs 'gelu' and 1e-05, use the ViT-H image encoder of IP-Adapter"
        )
    heads = config.get("num_attention_heads", width / VIT_H_HEAD_WIDTH)
    if heads < 1 or heads != int(heads) or width % heads:
        raise CheckpointMismatchError(
            f"{_WHAT} of width {width} cannot have {heads:g} heads; put its own config.json beside it"
        )
    return int(heads)


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' keys to open_clip's; keys of no known name stay, and the exact load reports them."""
    renamed: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        if key.startswith(_LAYER) and (part := _joined_part(key)):
            name, projection = part
            joined.setdefault(name, {})[projection] = tensor
        else:
            renamed.update(_rename(key, tensor))
    for name, parts in joined.items():
        if parts.keys() == {"q", "k", "v"}:
            renamed[name] = torch.cat([parts["q"], parts["k"], parts["v"]])
    return renamed


def _joined_part(key: str) -> tuple[str, str] | None:
    """Where a query, key or value projection goes, and which of the three it is."""
    layer, _, name = key.removeprefix(_LAYER).partition(".")
    for projection in "qkv":
        if name in {f"self_attn.{projection}_proj.weight", f"self_attn.{projection}_proj.bias"}:
            return f"transformer.resblocks.{layer}.attn.in_proj_{name.rpartition('.')[2]}", projection
    return None


def _rename(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    module, _, parameter = key.rpartition(".")
    layer, _, name = module.removeprefix(_LAYER).partition(".")
    if key == "visual_projection.weight":
        yield "proj", tensor.T.contiguous()
    elif key == f"{_EMBEDDINGS}position_ids":
        return  # a buffer that older releases of transformers saved
    elif key == f"{_EMBEDDINGS}class_embedding":
        yield "class_embedding", tensor
    elif key == f"{_EMBEDDINGS}position_embedding.weight":
        yield "positional_embedding", tensor
    elif key == f"{_EMBEDDINGS}patch_embedding.weight":
        yield "conv1.weight", tensor
    elif module in _NORM_NAMES:
        yield f"{_NORM_NAMES[module]}.{parameter}", tensor
    elif module.startswith(_LAYER) and name in _LAYER_NAMES:
        yield f"transformer.resblocks.{layer}.{_LAYER_NAMES[name]}.{parameter}", tensor
    else:
        yield key, tensor
