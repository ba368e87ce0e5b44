"""The stand-alone host with SDXL, compared with diffusers' own pipelines on the same narrow networks."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from torch import Tensor
from transformers import CLIPTokenizer

from lib_uniid.attention.injection import injected
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.bases import SDXL
from lib_uniid.config import GenerationSettings
from lib_uniid.host import Host, SamplingOptions
from lib_uniid.hosts.diffusers.host import DiffusersHost
from lib_uniid.hosts.diffusers.schedulers import inverse_scheduler, scheduler
from lib_uniid.hosts.diffusers.tokenizer import write_tokenizer
from lib_uniid.methods.uniportrait.plan import build
from tests import narrow_xl
from tests.attention.builders import hook_count, null_tokens, people, random_adapter

CPU = torch.device("cpu")
PROMPT, NEGATIVE, STEPS = "a man in a park", "blurry", 3
TOLERANCE = 1e-4
"""Of latents; they are about 1 to 10 in size."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> DiffusersHost:
    path = narrow_xl.write_checkpoint(tmp_path_factory.mktemp("base"))
    return DiffusersHost.load(path, CPU, torch.float32)


@pytest.fixture(scope="module")
def parts(host: DiffusersHost, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What diffusers' pipelines are made of: the host's networks, and the official tokenizers."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    text, text_2 = host.text_encoders.models
    return {
        "unet": host.unet,
        "vae": host.vae,
        "text_encoder": text,
        "text_encoder_2": text_2,
        "tokenizer": CLIPTokenizer.from_pretrained(folder, pad_token="<|endoftext|>"),
        "tokenizer_2": CLIPTokenizer.from_pretrained(folder, pad_token="!"),
        "scheduler": scheduler("ddim", SDXL),
        "add_watermarker": False,
    }


@pytest.fixture(scope="module")
def pipeline(parts: dict[str, Any]) -> Any:
    made = StableDiffusionXLPipeline(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def settings(**changes: Any) -> GenerationSettings:
    values: dict[str, Any] = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "steps": STEPS,
        "sampler": "ddim",
    }
    return GenerationSettings(**values | changes)


def noise(seed: int, rows: int = 16, columns: int = 16) -> Tensor:
    return torch.randn(1, 4, rows, columns, generator=torch.Generator().manual_seed(seed))


def test_it_is_a_host(host: DiffusersHost):
    assert isinstance(host, Host)
    assert host.base is SDXL
    assert host.side == 8 * narrow_xl.LATENT_SIDE


def test_a_diffusers_folder_gives_the_same_picture_as_the_single_file(host: DiffusersHost, tmp_path: Path):
    folder = DiffusersHost.load(narrow_xl.write_folder(tmp_path), CPU, torch.float32)
    assert folder.base is SDXL
    assert torch.equal(folder.sample(settings(), [0]), host.sample(settings(), [0]))
    assert folder.text_encoders.key == host.text_encoders.key


@pytest.mark.parametrize("prompt", [PROMPT, "", "cat " * 90])
def test_the_text_is_that_of_diffusers_pipeline(host: DiffusersHost, pipeline: Any, prompt: str):
    with torch.no_grad():
        states, _, pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
    ours = host.text_encoders.encode([prompt])
    assert ours.pooled is not None
    assert torch.allclose(ours.states, states, atol=1e-6)
    assert torch.allclose(ours.pooled, pooled, atol=1e-6)


def test_the_text_is_that_of_transformers_before_the_last_layer(host: DiffusersHost):
    tokens = torch.tensor([[49406, 320, 49407, *[49407] * 74]])
    text, text_2 = host.text_encoders.models
    with torch.no_grad():
        first = text(tokens, output_hidden_states=True).hidden_states[-2]
        tokens[0, 3:] = 0
        second = text_2(tokens, output_hidden_states=True)
    ours = host.text_encoders.encode(["a"])
    assert torch.equal(ours.states, torch.cat([first, second.hidden_states[-2]], dim=-1))
    assert ours.pooled is not None
    assert torch.equal(ours.pooled, second.text_embeds)


@pytest.mark.parametrize(("cfg_scale", "size"), [(1.0, (128, 128)), (7.5, (128, 128)), (7.5, (136, 88))])
def test_latents_are_those_of_diffusers_pipeline(
    host: DiffusersHost, pipeline: Any, cfg_scale: float, size: tuple[int, int]
):
    """The largest difference that was seen is 2e-5, without guidance 0."""
    width, height = size
    expected = pipeline(
        PROMPT,
        negative_prompt=NEGATIVE,
        width=width,
        height=height,
        num_inference_steps=STEPS,
        guidance_scale=cfg_scale,
        latents=noise(5, height // 8, width // 8),
        output_type="latent",
    ).images
    ours = host.sample(settings(cfg_scale=cfg_scale, width=width, height=height), [5])
    assert torch.allclose(ours, expected, atol=TOLERANCE)
    (picture,) = host.decode(ours)
    assert picture.shape == (height, width, 3)


def test_from_a_start_picture_latents_are_those_of_diffusers_pipeline(
    host: DiffusersHost, parts: dict[str, Any]
):
    pipeline: Any = StableDiffusionXLImg2ImgPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    start = np.full((128, 128, 3), 200, dtype=np.uint8)
    expected = pipeline(
        PROMPT,
        negative_prompt=NEGATIVE,
        image=host._encode(start),  # pyright: ignore[reportPrivateUsage]
        strength=0.5,
        num_inference_steps=4,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images
    wanted = settings(cfg_scale=5.0, steps=4, strength=0.5)
    ours = host.sample(wanted, [5], SamplingOptions(start=start))
    assert torch.allclose(ours, expected, atol=TOLERANCE)


def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch(host: DiffusersHost):
    batch = host.sample(settings(cfg_scale=3.0), [3, 4])
    assert torch.allclose(batch[1:], host.sample(settings(cfg_scale=3.0), [4]), atol=TOLERANCE)


def test_half_precision_of_the_unet_gives_nearly_the_same(host: DiffusersHost, tmp_path: Path):
    half = DiffusersHost.load(narrow_xl.write_folder(tmp_path), CPU, torch.float16)
    assert {half.dtype, half.vae.dtype, *(text.dtype for text in half.text_encoders.models)} == {
        torch.float16,
        torch.float32,
    }
    exact, rounded = (one.sample(settings(cfg_scale=3.0), [0]) for one in (host, half))
    assert (rounded - exact).norm() < 0.01 * exact.norm()
    assert not torch.equal(rounded, exact)


def test_an_empty_negative_prompt_is_encoded_like_any_other(host: DiffusersHost):
    """diffusers gives zeros where no negative prompt is given at all."""
    text = host.text_encoders.encode([""])
    assert text.pooled is not None
    assert text.states.abs().min() > 0
    assert text.pooled.abs().min() > 0


@pytest.fixture
def calls(host: DiffusersHost) -> Generator[list[dict[str, Any]]]:
    """The keywords of each call of the UNet."""
    seen: list[dict[str, Any]] = []
    hook = host.unet.register_forward_pre_hook(lambda _, __, words: seen.append(words), with_kwargs=True)
    yield seen
    hook.remove()


def test_the_unet_is_told_the_picture_s_size(host: DiffusersHost, calls: list[dict[str, Any]]):
    host.sample(settings(cfg_scale=3.0, width=64, height=96), [0, 1])
    added = calls[0]["added_cond_kwargs"]
    assert added["time_ids"].tolist() == [[96, 64, 0, 0, 96, 64]] * 4
    assert added["text_embeds"].shape == (4, narrow_xl.POOLED)


def test_inversion_is_that_of_diffusers_scheduler_with_an_empty_prompt(host: DiffusersHost, pipeline: Any):
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    schedule, latents = inverse_scheduler(SDXL), host._encode(picture)  # pyright: ignore[reportPrivateUsage]
    schedule.set_timesteps(STEPS)
    with torch.no_grad():
        states, _, pooled, _ = pipeline.encode_prompt("", do_classifier_free_guidance=False)
        added = {"text_embeds": pooled, "time_ids": torch.tensor([[64.0, 96, 0, 0, 64, 96]])}
        for timestep in schedule.timesteps:
            predicted = host.unet(latents, timestep, states, added_cond_kwargs=added).sample
            latents = schedule.step(predicted, timestep, latents).prev_sample
    inverted = host.invert(picture, STEPS)
    assert inverted.shape == (STEPS, 4, 8, 12)
    assert torch.allclose(inverted[:1], latents, atol=TOLERANCE)


def test_a_style_picture_is_sampled_along_and_left_out(host: DiffusersHost, calls: list[dict[str, Any]]):
    inverted = host.invert(np.zeros((128, 128, 3), dtype=np.uint8), STEPS)
    rows = Rows(())
    made = host.sample(settings(cfg_scale=3.0), [0], SamplingOptions(style=inverted, rows=rows))
    assert made.shape == (1, 4, 16, 16)
    assert rows.roles == (Role.STYLE, Role.UNCOND, Role.STYLE, Role.COND)
    assert len(calls[-1]["added_cond_kwargs"]["time_ids"]) == 4


def test_after_a_generation_with_people_the_picture_is_bit_for_bit_what_it_was(host: DiffusersHost):
    before = host.sample(settings(cfg_scale=3.0), [0])
    sites, context = find_sites(host.unet), narrow_xl.TEXT_WIDTH + narrow_xl.TEXT_WIDTH_2
    plan = build(random_adapter(sites), sites, people(2, context), null_tokens(context))
    rows = Rows(())
    with injected(sites, plan, rows):
        with_people = host.sample(settings(cfg_scale=3.0), [0], SamplingOptions(rows=rows))
    assert len(sites) == 2 * len(SDXL.unet.widths)
    assert not torch.allclose(with_people, before, atol=1e-2)
    assert hook_count(host.unet) == 0
    assert torch.equal(host.sample(settings(cfg_scale=3.0), [0]), before)
