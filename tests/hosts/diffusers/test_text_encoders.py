"""Text models as one encoder: what UniID's norms of names need of them."""

from typing import Any

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_uniid.bases import SDXL
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.hosts.diffusers.text_encoders import DiffusersTextEncoders
from lib_uniid.methods.uniid.text_tokens import mean_name, name_norms
from tests import narrow_xl
from tests import recorded_uniid as recorded
from tests.attention.builders import hook_count

NAMES = recorded.tensors("celeb_norm")


def recorded_model(number: int, kind: Any) -> Any:
    model = kind(CLIPTextConfig(**recorded.notes("celeb_norm")[f"clip{number}"])).eval()
    official = {key: key if "text_" in key else f"text_model.{key}" for key in model.state_dict()}
    shapes = {official[key]: tensor.shape for key, tensor in model.state_dict().items()}
    state = recorded.state(shapes, f"clip{number}:")
    model.load_state_dict({key: state[theirs] for key, theirs in official.items()})
    return model


@pytest.fixture(scope="module")
def encoders() -> DiffusersTextEncoders:
    models = (narrow_xl.narrow_text_model(), narrow_xl.narrow_text_model_2())
    return DiffusersTextEncoders(models, SDXL.text_encoders)


@pytest.mark.golden
def test_the_norms_of_names_are_those_of_the_official_code():
    models = (recorded_model(1, CLIPTextModel), recorded_model(2, CLIPTextModelWithProjection))
    encoders = DiffusersTextEncoders(models, SDXL.text_encoders)
    for number, name in enumerate("12"):
        means = mean_name(encoders.table(number))
        states = encoders.penultimate(number, means)
        assert torch.allclose(means, NAMES[f"col_mean_{name}"], atol=1e-6)
        assert torch.allclose(states, NAMES[f"enc_out_{name}"], atol=1e-5)
        assert torch.allclose(name_norms(states), NAMES[f"norm_{name}"], atol=1e-5)


@pytest.mark.parametrize("number", [0, 1])
def test_embeddings_of_a_word_s_tokens_give_the_states_of_the_word(
    encoders: DiffusersTextEncoders, number: int
):
    tokens = torch.tensor([320, 1125, 539])
    states = encoders.penultimate(number, encoders.table(number)[tokens])
    first = narrow_xl.TEXT_WIDTH
    channels = slice(first) if number == 0 else slice(first, None)
    whole = encoders.encode(["a photo of"]).states[0, 1:4, channels]
    assert torch.allclose(states, whole, atol=1e-6)
    assert hook_count(encoders.models[number].get_input_embeddings()) == 0


def test_a_hook_does_not_stay_when_the_text_model_fails(encoders: DiffusersTextEncoders):
    with pytest.raises(RuntimeError):
        encoders.penultimate(0, torch.zeros(3, 5))
    assert hook_count(encoders.models[0].get_input_embeddings()) == 0


def test_the_key_changes_with_the_weights_of_either_model(encoders: DiffusersTextEncoders):
    keys = {encoders.key}
    for model in encoders.models:
        weight = model.get_parameter(next(name for name, _ in model.named_parameters() if "fc1.w" in name))
        with torch.no_grad():
            weight += 0.01
            keys.add(encoders.key)
            weight -= 0.01
    assert len(keys) == 3


def test_a_text_model_with_fewer_tokens_than_the_tokenizer_is_refused():
    small = CLIPTextModel(CLIPTextConfig(vocab_size=100, hidden_size=8, num_attention_heads=2))
    with pytest.raises(CheckpointMismatchError, match="has 100 tokens, CLIP's tokenizer has 49408"):
        DiffusersTextEncoders([small], SDXL.text_encoders[:1])
