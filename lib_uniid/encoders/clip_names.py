"""Names of a CLIP image tower's tensors for its fingerprint: those of open_clip.

Fingerprints of enrolled people were computed over open_clip's names. Using the same names keeps them valid,
whatever the names of our own modules.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_ALONE = {
    "visual_projection.weight": "proj",
    "vision_model.embeddings.class_embedding": "class_embedding",
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
}
_PARTS = (
    (r"vision_model\.pre_layrnorm", "ln_pre"),  # transformers' own spelling
    (r"vision_model\.post_layernorm", "ln_post"),
    (r"vision_model\.encoder\.layers", "transformer.resblocks"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"self_attn\.[qkv]_proj\.", "attn.in_proj_"),
    (r"layer_norm(\d)", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
)


def open_clip_names(state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, ...]]:
    """The tensors of our tower by open_clip's names; query, key and value are in one tuple, to be joined."""
    parts = {"q": 0, "k": 1, "v": 2}
    joined: dict[str, dict[int, Tensor]] = {}
    for key, tensor in state.items():
        which = re.search(r"self_attn\.([qkv])_proj", key)
        part = tensor.T if key == "visual_projection.weight" else tensor
        joined.setdefault(_renamed(key), {})[parts[which[1]] if which else 0] = part
    return {name: tuple(tensor for _, tensor in sorted(found.items())) for name, found in joined.items()}


def _renamed(key: str) -> str:
    if key in _ALONE:
        return _ALONE[key]
    for theirs, ours in _PARTS:
        key = re.sub(theirs, ours, key)
    return key
