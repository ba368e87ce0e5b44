"""The text models of a checkpoint in the original layouts, of any width and vocabulary.

CLIP-L has transformers' names. OpenCLIP has its own, one matrix for query, key and value, and a transposed
projection; see ``FrozenOpenCLIPEmbedder2`` in Stability AI's generative-models.
"""

from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_uniid.bases import TextEncoder
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.hosts.diffusers.ldm_hints import TextHints
from lib_uniid.hosts.diffusers.ldm_state import State, indices, load

TextModel = CLIPTextModel | CLIPTextModelWithProjection


def kind_of(encoder: TextEncoder) -> type[TextModel]:
    """transformers' class: with a projection if the pooled text is used."""
    return CLIPTextModelWithProjection if encoder.pooled else CLIPTextModel


def text_model_of(state: State, encoder: TextEncoder, hints: TextHints, part: str) -> TextModel:
    """The text model under the encoder's prefix."""
    text = _from_open_clip(state, encoder.prefix) if encoder.pooled else _from_clip(state, encoder.prefix)
    config = _config(text, hints, part)
    if encoder.pooled:
        config.projection_dim = text["text_projection.weight"].shape[0]
    with init_empty_weights():
        model = kind_of(encoder)(config)
    load(model, _as_in(model, text), part)
    return model


def _from_clip(state: State, prefix: str) -> dict[str, Tensor]:
    """Files older than transformers 4.30 carry a buffer; some mergers drop the inner prefix."""
    return {
        key.removeprefix(prefix).removeprefix("text_model."): tensor
        for key, tensor in state.items()
        if key.startswith(prefix) and not key.endswith("position_ids")
    }


def _from_open_clip(state: State, prefix: str) -> dict[str, Tensor]:
    state[f"{prefix}text_projection"]  # without it the converter guesses the width
    converted = convert_open_clip_checkpoint(None, dict(state), prefix)
    return {key.removeprefix("text_model."): tensor for key, tensor in converted.items()}


def _config(text: State, hints: TextHints, part: str) -> CLIPTextConfig:
    vocabulary, width = text["embeddings.token_embedding.weight"].shape
    assert hints.heads is not None, "the base family completed the hints"
    assert hints.activation is not None, "the base family completed the hints"
    if width % hints.heads:
        raise CheckpointMismatchError(
            f"{part} has width {width}, not a multiple of its {hints.heads} heads; in the .yaml beside it "
            "give version, a folder with the text model's config.json, or arch, open_clip's configuration"
        )
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=text["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=len(indices(text, r"encoder\.layers\.(\d+)\.")),
        num_attention_heads=hints.heads,
        max_position_embeddings=text["embeddings.position_embedding.weight"].shape[0],
        hidden_act=hints.activation,
    )


def _as_in(model: nn.Module, text: State) -> dict[str, Tensor]:
    """With the prefix ``text_model.`` where this version of transformers has it."""
    wrapped = any(key.startswith("text_model.") for key in model.state_dict())
    inner = "text_model." if wrapped else ""
    return {key if key.startswith("text_projection") else inner + key: value for key, value in text.items()}
