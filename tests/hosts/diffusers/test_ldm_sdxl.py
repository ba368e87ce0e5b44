"""Single-file checkpoints of SDXL in the original layout, of any width."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_uniid.attention.sites import find_sites, shape_of
from lib_uniid.bases import SDXL
from lib_uniid.errors import CheckpointMismatchError, UnknownCheckpointError
from lib_uniid.hosts.diffusers.ldm import networks
from lib_uniid.hosts.diffusers.ldm_hints import Hints, TextHints, hints_beside
from lib_uniid.hosts.diffusers.loading import from_file
from lib_uniid.weights import without_values
from miniature.ldm_layout import sdxl_state
from tests import narrow_xl
from tests.hosts.diffusers.test_ldm import assert_same_tensors

TEXTS = (TextHints(heads=2), TextHints(heads=4))
HINTS = Hints(unet_heads=4, texts=TEXTS)
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return narrow_xl.narrow_state()


def test_a_checkpoint_of_any_width_gives_the_networks_it_was_written_from(state: dict[str, Tensor]):
    loaded = networks(state, HINTS, "narrow")
    assert loaded.base is SDXL
    assert_same_tensors(loaded.unet, narrow_xl.narrow_unet())
    assert_same_tensors(loaded.vae, narrow_xl.narrow_vae())
    text, text_2 = loaded.text_models
    assert_same_tensors(text, narrow_xl.narrow_text_model())
    assert_same_tensors(text_2, narrow_xl.narrow_text_model_2())
    assert isinstance(text_2, CLIPTextModelWithProjection)
    assert text_2.text_projection.out_features == narrow_xl.POOLED
    expected = narrow_xl.narrow_unet().config
    assert {key: loaded.unet.config[key] for key in narrow_xl.UNET_CONFIG if key != "sample_size"} == {
        key: expected[key] for key in narrow_xl.UNET_CONFIG if key != "sample_size"
    }


def elements(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_networks_of_the_official_sizes_are_recognised_without_a_yaml():
    """On the meta device: sizes without values."""
    conditions = {"addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}
    with without_values():
        official = narrow_xl.narrow_unet(
            block_out_channels=(320, 640, 1280),
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            **conditions,
        )
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
        text_2 = CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=1280,
                intermediate_size=5120,
                num_attention_heads=20,
                num_hidden_layers=32,
                projection_dim=1280,
                hidden_act="gelu",
            )
        )
    state = sdxl_state(official, narrow_xl.narrow_vae(), text, text_2)
    loaded = networks(state, Hints(), "official")
    counts = [elements(network) for network in (loaded.unet, *loaded.text_models)]
    assert counts == [2_567_463_684, 123_060_480, 694_659_840]  # as published
    assert shape_of(find_sites(loaded.unet)) == SDXL.unet
    assert {site.width // site.heads for site in find_sites(loaded.unet)} == {64}
    assert {key: loaded.unet.config[key] for key in conditions} == conditions


def test_without_a_yaml_side_and_latent_scale_are_the_family_s(state: dict[str, Tensor]):
    loaded = networks(state, HINTS, "narrow")
    assert loaded.unet.config["sample_size"] * SDXL.pixels == 1024
    assert loaded.vae.config["scaling_factor"] == SDXL.latent_scale
    activations = [text.config.hidden_act for text in loaded.text_models]
    assert activations == ["quick_gelu", "gelu"]


def test_the_vocabulary_may_be_of_any_size(state: dict[str, Tensor]):
    tables = {key: tensor[:300] for key, tensor in state.items() if "token_embedding" in key}
    loaded = networks(state | tables, HINTS, "narrow")
    assert [text.config.vocab_size for text in loaded.text_models] == [300, 300]


def test_the_yaml_file_beside_a_checkpoint_gives_what_tensors_cannot_show(tmp_path: Path):
    path = narrow_xl.write_checkpoint(tmp_path)
    width = narrow_xl.WIDTH // narrow_xl.HEADS
    assert hints_beside(path) == Hints(
        head_width=width,
        texts=(replace(TEXTS[0], activation="quick_gelu"), TEXTS[1], *(TextHints(),) * 3),  # three are sizes
        latent_scale=0.13025,
        latent_side=narrow_xl.LATENT_SIDE,
    )
    assert from_file(path).unet.config["attention_head_dim"] == (narrow_xl.HEADS,) * 3


@pytest.mark.parametrize(("target", "prediction"), [("V", "v_prediction"), ("Eps", "epsilon")])
def test_the_prediction_is_that_of_sgm_s_denoiser(tmp_path: Path, target: str, prediction: str):
    scaling = "{target: sgm.modules.diffusionmodules.denoiser_scaling." + target + "Scaling}"
    (tmp_path / "model.yaml").write_text(
        "model: {params: {network_config: {params: {num_heads: 4, num_head_channels: -1}},"
        " denoiser_config: {params: {scaling_config: " + scaling + "}}}}"
    )
    assert hints_beside(tmp_path / "model.safetensors") == Hints(
        unet_heads=4, texts=(TextHints(),), prediction=prediction
    )


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        (Hints(texts=TEXTS), "the UNet of narrow has levels of 32 channels, not a multiple of 10 heads"),
        (Hints(unet_heads=4), "text model 1 of narrow has width 32, not a multiple of its 12 heads"),
        (
            Hints(unet_heads=4, texts=TEXTS[:1]),
            "text model 2 of narrow has width 64, not a multiple of its 20",
        ),
    ],
)
def test_heads_that_do_not_divide_a_width_are_explained(state: dict[str, Tensor], hints: Hints, message: str):
    with pytest.raises(CheckpointMismatchError, match=message):
        networks(state, hints, "narrow")


@pytest.mark.parametrize(
    "key",
    [
        UNET + "label_emb.0.0.weight",
        UNET + "input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight",
        "conditioner.embedders.1.model.text_projection",
        "conditioner.embedders.1.model.transformer.resblocks.2.attn.in_proj_bias",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
    ],
)
def test_a_missing_tensor_is_an_error(state: dict[str, Tensor], key: str):
    with pytest.raises(CheckpointMismatchError, match="missing"):
        networks({name: tensor for name, tensor in state.items() if name != key}, HINTS, "broken")


def test_conditions_of_another_number_of_sizes_are_refused(state: dict[str, Tensor]):
    key = UNET + "label_emb.0.0.weight"
    with pytest.raises(CheckpointMismatchError, match="reads 143 channels beside the text, not the 48 of"):
        networks(state | {key: state[key][:, :-1]}, HINTS, "odd")


def test_another_depth_is_no_sdxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As in distilled models, for which no adapters fit."""
    shorter = narrow_xl.narrow_unet(transformer_layers_per_block=(1, 2, 4))
    texts = (narrow_xl.narrow_text_model(), narrow_xl.narrow_text_model_2())
    short = sdxl_state(shorter, narrow_xl.narrow_vae(), *texts)
    monkeypatch.setattr("lib_uniid.hosts.diffusers.loading.read", lambda _: short)  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr("lib_uniid.hosts.diffusers.loading.hints_beside", lambda _: HINTS)  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(UnknownCheckpointError, match="its UNet has 34 cross-attention layers, 32 channels"):
        from_file(tmp_path / "short.safetensors")


def test_loaded_networks_are_not_trained_by_accident(state: dict[str, Tensor]):
    loaded = networks(state, HINTS, "narrow")
    for network in (loaded.unet, loaded.vae, *loaded.text_models):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert loaded.unet.dtype == torch.float16
