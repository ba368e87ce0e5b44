"""Single-file checkpoints in the ldm layout, of any width."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib_uniid.bases import SD15
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError
from lib_uniid.hosts.diffusers import ldm
from lib_uniid.hosts.diffusers.ldm import networks
from lib_uniid.hosts.diffusers.ldm_hints import Hints, TextHints, hints_beside
from tests import narrow

UNET_KEY = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return narrow.narrow_state()


def assert_same_tensors(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for key, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[key].half()), key


def test_a_checkpoint_of_any_width_gives_the_networks_it_was_written_from(state: dict[str, torch.Tensor]):
    loaded = networks(state, Hints(), "narrow")
    assert_same_tensors(loaded.unet, narrow.narrow_unet())
    assert_same_tensors(loaded.vae, narrow.narrow_vae())
    assert_same_tensors(loaded.text_models[0], narrow.narrow_text_model())


def test_loaded_networks_are_not_trained_by_accident(state: dict[str, torch.Tensor]):
    loaded = networks(state, Hints(), "narrow")
    for network in (loaded.unet, loaded.vae, *loaded.text_models):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_text_models_of_older_mergers_without_the_inner_prefix_load_too(state: dict[str, torch.Tensor]):
    old = {key.replace("transformer.text_model.", "transformer."): tensor for key, tensor in state.items()}
    old["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77)[None]
    assert_same_tensors(networks(old, Hints(), "old").text_models[0], narrow.narrow_text_model())


def test_a_missing_tensor_is_named(state: dict[str, torch.Tensor]):
    broken = {key: tensor for key, tensor in state.items() if key != UNET_KEY}
    with pytest.raises(CheckpointMismatchError, match=r"conv1\.weight") as caught:
        networks(broken, Hints(), "broken")
    assert caught.value.missing == {"down_blocks.0.resnets.0.conv1.weight"}


def test_the_message_for_a_checkpoint_without_a_vae_names_the_missing_tensor(state: dict[str, torch.Tensor]):
    bare = {key: tensor for key, tensor in state.items() if not key.startswith("first_stage_model.")}
    with pytest.raises(CheckpointMismatchError, match=r"noVAE is incomplete: the tensor first_stage_model\."):
        networks(bare, Hints(), "noVAE")


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("conditioner.embedders.0.model.ln_final.bias", "a refiner for SDXL"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.proj.bias", "Flux or SD3"),
        ("cond_stage_model.model.ln_final.bias", "Stable Diffusion 2"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.alpha", "LoRA"),
        ("something.else", "of an unknown type"),
    ],
)
def test_another_family_is_refused_by_its_name(key: str, family: str):
    with pytest.raises(UnknownCheckpointError, match=f"file.safetensors is .*{family}"):
        networks({key: torch.zeros(1)}, Hints(), "file.safetensors")


def test_heads_that_do_not_divide_the_text_model_are_explained(state: dict[str, torch.Tensor]):
    with pytest.raises(CheckpointMismatchError, match="width 48, not a multiple of its 7 heads"):
        networks(state, Hints(texts=(TextHints(heads=7),)), "narrow")


def test_what_neither_tensors_nor_a_yaml_tell_is_the_family_s(
    state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
):
    (text,) = SD15.text_encoders
    text = replace(text, heads=6, activation="gelu")
    other = replace(SD15, unet_heads=(4, 4, 2, 2), text_encoders=(text,), latent_scale=0.5, latent_side=32)
    monkeypatch.setattr(ldm, "STANDALONE", (other,))
    monkeypatch.setattr(ldm, "of_checkpoint", lambda _: other)  # pyright: ignore[reportUnknownLambdaType]
    loaded = networks(state, Hints(), "narrow")
    assert loaded.unet.config["attention_head_dim"] == (4, 4, 2, 2)
    assert loaded.unet.config["sample_size"] == 32
    assert loaded.vae.config["scaling_factor"] == 0.5
    assert (loaded.text_models[0].config.num_attention_heads, loaded.text_models[0].config.hidden_act) == (
        6,
        "gelu",
    )


def test_without_a_yaml_the_hints_are_those_of_stable_diffusion(tmp_path: Path):
    assert hints_beside(tmp_path / "model.safetensors") == Hints()


@pytest.mark.parametrize("version", ["text", "models/Stable-diffusion/text"])
def test_the_yaml_file_beside_a_checkpoint_gives_what_tensors_cannot_show(tmp_path: Path, version: str):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "config.json").write_text('{"text_config": {"num_attention_heads": 4, "hidden_act": "gelu"}}')
    (tmp_path / "model.yaml").write_text(
        "model: {params: {image_size: 16, scale_factor: 0.5, parameterization: v,"
        " unet_config: {params: {num_heads: 4}}, cond_stage_config: {params: {version: " + version + "}}}}"
    )
    assert hints_beside(tmp_path / "model.safetensors") == Hints(
        unet_heads=4,
        texts=(TextHints(heads=4, activation="gelu"),),
        latent_scale=0.5,
        latent_side=16,
        prediction="v_prediction",
    )


@pytest.mark.parametrize("text", ["a: [", "just words", "model: {}", "\x00\x01"])
def test_a_yaml_that_is_no_configuration_is_named(tmp_path: Path, text: str):
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(UnknownCheckpointError, match=r"model\.yaml"):
        hints_beside(tmp_path / "model.safetensors")
