"""A style picture in the stand-alone host: inverted, sampled along, and left out of what is made."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_uniid.attention.rows import Role, Rows
from lib_uniid.bases import SD15
from lib_uniid.config import GenerationSettings, StyleSettings
from lib_uniid.errors import ConfigError
from lib_uniid.host import SamplingOptions
from lib_uniid.hosts.diffusers.host import DiffusersHost
from lib_uniid.hosts.diffusers.schedulers import inverse_scheduler, scheduler
from tests import narrow

STEPS = 4
PAINTING = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
STYLE = StyleSettings(picture=PAINTING)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> DiffusersHost:
    path = narrow.write_checkpoint(tmp_path_factory.mktemp("base"))
    return DiffusersHost.load(path, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def inverted(host: DiffusersHost) -> Tensor:
    return host.invert(PAINTING, STEPS)


def settings(**changes: Any) -> GenerationSettings:
    values: dict[str, Any] = {"prompt": "a park", "steps": STEPS, "cfg_scale": 3.0, "style": STYLE}
    return GenerationSettings(**values | changes)


@contextmanager
def watched(host: DiffusersHost) -> Generator[list[tuple[Tensor, Tensor]]]:
    """The latents and the text of every call of the UNet."""
    calls: list[tuple[Tensor, Tensor]] = []
    hook = host.unet.register_forward_pre_hook(
        lambda _, args, words: calls.append((args[0], words["encoder_hidden_states"])), with_kwargs=True
    )
    yield calls
    hook.remove()


# --- inversion ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DiffusersHost:
    """Like a trained model in the two respects that inversion rests on, which random weights lack.

    Latents have a deviation of about 1, and the prediction changes little from one step to the next.
    """
    host = DiffusersHost.load(
        narrow.write_checkpoint(tmp_path_factory.mktemp("trained")), torch.device("cpu"), torch.float32
    )
    host.vae.register_to_config(scaling_factor=4.0)
    with torch.no_grad():
        for parameter in host.unet.conv_out.parameters():
            parameter.mul_(0.1)
    return host


def off_by(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@torch.no_grad()
def test_sampling_from_the_inversion_restores_the_picture(trained: DiffusersHost):
    kept = trained._encode(PAINTING)  # pyright: ignore[reportPrivateUsage]
    inverted, ddim = trained.invert(PAINTING, STEPS), scheduler("ddim", SD15)
    ddim.set_timesteps(STEPS)
    text, latents = trained.text_encoders.encode([""]).states, inverted[:1]
    assert off_by(latents, kept) > 0.5  # it has been far away
    for timestep, stored in zip(ddim.timesteps, [*inverted[1:], kept[0]], strict=True):
        latents = ddim.step(trained.unet(latents, timestep, text).sample, timestep, latents).prev_sample
        assert off_by(latents, stored[None]) < 0.1


def test_a_step_back_undoes_a_step_of_ddim():
    back, forth = inverse_scheduler(SD15), scheduler("ddim", SD15)
    back.set_timesteps(25)
    forth.set_timesteps(25)
    assert torch.equal(back.timesteps, forth.timesteps.flip(0))
    x, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for timestep in back.timesteps:
        noisier = back.step(noise, timestep, x).prev_sample
        torch.testing.assert_close(forth.step(noise, timestep, noisier).prev_sample, x, rtol=0, atol=1e-5)


def test_the_way_back_reads_the_same_kind_of_prediction():
    assert inverse_scheduler(SD15, "v_prediction").config.prediction_type == "v_prediction"


def test_inversion_reports_progress_and_uses_an_empty_prompt(host: DiffusersHost):
    steps: list[tuple[int, int]] = []
    with watched(host) as calls:
        host.invert(PAINTING, 2, progress=lambda step, total: steps.append((step, total)))
    assert steps == [(1, 2), (2, 2)]
    assert all(torch.equal(text, calls[0][1]) and len(text) == 1 for _, text in calls)


# --- sampled along ---


@pytest.mark.parametrize(("cfg_scale", "first_rows"), [(3.0, (0, 3)), (1.0, (0,))])
def test_each_half_begins_with_the_inverted_picture_at_every_step(
    host: DiffusersHost, inverted: Tensor, cfg_scale: float, first_rows: tuple[int, ...]
):
    rows = Rows(())
    with watched(host) as calls:
        host.sample(settings(cfg_scale=cfg_scale), [0, 1], SamplingOptions(style=inverted, rows=rows))
    half = [Role.STYLE, Role.COND, Role.COND]
    uncond = [Role.STYLE, Role.UNCOND, Role.UNCOND]
    assert list(rows.roles) == (half if cfg_scale == 1.0 else uncond + half)
    assert len(calls) == STEPS
    for (latents, _), stored in zip(calls, inverted, strict=True):
        for row in first_rows:
            assert torch.equal(latents[row], stored)


def test_the_prompt_is_for_the_pictures_and_the_negative_prompt_for_the_whole_half(
    host: DiffusersHost, inverted: Tensor
):
    with watched(host) as calls:
        host.sample(settings(negative_prompt="blurred"), [0], SamplingOptions(style=inverted))
        host.sample(settings(prompt=""), [0], SamplingOptions(style=inverted))
    (_, text), (_, wordless) = calls[0], calls[STEPS]
    assert torch.equal(text[0], text[1])
    assert not torch.allclose(text[2], text[3], atol=1e-3)
    assert torch.allclose(text[2], wordless[2], atol=1e-5)
    assert torch.equal(wordless[2], wordless[3])


def test_only_the_requested_pictures_are_returned_and_the_style_row_alone_changes_none(
    host: DiffusersHost, inverted: Tensor
):
    styled = host.sample(settings(), [3, 4], SamplingOptions(style=inverted))
    assert styled.shape == (2, 4, 16, 16)
    # without sharing a row is independent of its neighbours
    assert torch.allclose(styled, host.sample(settings(), [3, 4]), atol=1e-4)


def test_with_a_start_picture_the_last_steps_of_both_are_taken(host: DiffusersHost, inverted: Tensor):
    start = np.full((128, 128, 3), 200, dtype=np.uint8)
    with watched(host) as calls:
        host.sample(settings(strength=0.5), [0], SamplingOptions(start=start, style=inverted))
    assert len(calls) == 2
    for (latents, _), stored in zip(calls, inverted[-2:], strict=True):
        assert torch.equal(latents[0], stored)


def test_a_picture_is_bit_identical_before_and_after_one_with_style(host: DiffusersHost, inverted: Tensor):
    before = host.sample(settings(style=None), [5])
    host.sample(settings(), [5], SamplingOptions(style=inverted))
    assert torch.equal(host.sample(settings(style=None), [5]), before)


@pytest.mark.parametrize("changes", [{"steps": 3}, {"width": 64}])
def test_an_inversion_for_another_generation_is_refused(
    host: DiffusersHost, inverted: Tensor, changes: dict[str, Any]
):
    with pytest.raises(ConfigError, match=r"must have the shape \(\d, 4, 16, \d+\), got \(4, 4, 16, 16\)"):
        host.sample(settings(**changes), [0], SamplingOptions(style=inverted))
