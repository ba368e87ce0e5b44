"""Tests of inverting a picture without a scheduler, and of where it is between two steps."""

import pytest
import torch
from torch import Tensor

from lib_uniid.bases import SD15
from lib_uniid.hosts.diffusers.schedulers import inverse_scheduler
from lib_uniid.hosts.inversion import Trajectory, invert, sigmas
from tests.near import assert_near

OFFSET, TRAINED_STEPS = SD15.steps_offset, SD15.trained_steps
STEPS = 25
CLEAN = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(0))


def predict(latents: Tensor, timestep: Tensor) -> Tensor:
    """Something that depends on both and is no noise."""
    return torch.tanh(latents.flip(-1) + timestep / TRAINED_STEPS)


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    return invert(predict, CLEAN, STEPS, SD15)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [4, 25])
def test_at_ddims_timesteps_it_is_where_diffusers_has_it(prediction: str, steps: int):
    schedule, latents = inverse_scheduler(SD15, prediction), CLEAN
    schedule.set_timesteps(steps)
    trajectory = invert(predict, CLEAN, steps, SD15, velocity=prediction == "v_prediction")
    for timestep in schedule.timesteps:
        latents = schedule.step(predict(latents, timestep), timestep, latents).prev_sample
        assert_near(trajectory.at(timestep.view(1)), latents)


def test_it_begins_at_the_picture(trajectory: Trajectory):
    assert_near(trajectory.at(torch.zeros(1)), CLEAN)


def test_between_two_timesteps_it_is_on_the_line_over_sigma(trajectory: Trajectory):
    first, second = OFFSET + 40, OFFSET + 80
    sigma = sigmas(SD15)
    share = (sigma[60] - sigma[first]) / (sigma[second] - sigma[first])

    def scaled(timestep: int) -> Tensor:
        return trajectory.at(torch.tensor([timestep])) * (1 + sigma[timestep] ** 2).sqrt()

    assert_near(scaled(60), torch.lerp(scaled(first), scaled(second), share))


def test_past_the_last_point_the_last_line_goes_on(trajectory: Trajectory):
    sigma, scale = sigmas(SD15), (1 + sigmas(SD15) ** 2).sqrt()
    last = OFFSET + 960
    ends = [trajectory.at(torch.tensor([t])) * scale[t] for t in (last - 40, last, TRAINED_STEPS - 1)]
    share = (sigma[-1] - sigma[last - 40]) / (sigma[last] - sigma[last - 40])
    assert_near(ends[2], torch.lerp(ends[0], ends[1], share))
    assert_near(trajectory.at(torch.tensor([5000.0])), trajectory.at(torch.tensor([TRAINED_STEPS - 1])))


def test_half_timesteps_lie_between_whole_ones(trajectory: Trajectory):
    low, half, high = (trajectory.at(torch.tensor([t])) for t in (700.0, 700.5, 701.0))
    assert (low - high).abs().max() > 1e-4
    assert_near(half, (low + high) / 2, 1e-3)
