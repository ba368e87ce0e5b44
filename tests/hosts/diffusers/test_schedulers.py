"""diffusers' schedulers by name."""

import pytest

from lib_uniid.bases import SD15
from lib_uniid.config import SAMPLERS
from lib_uniid.errors import ConfigError
from lib_uniid.hosts.diffusers.schedulers import NAMED, scheduler


def test_every_short_name_of_the_settings_has_a_scheduler():
    assert sorted(NAMED) == sorted(SAMPLERS)


def test_ddim_is_set_up_as_in_the_method():
    config = scheduler("ddim", SD15).config
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert (config.clip_sample, config.set_alpha_to_one, config.steps_offset) == (False, False, 1)
    assert config.timestep_spacing == "leading"


def test_any_scheduler_of_diffusers_is_accepted_by_its_class_name():
    assert type(scheduler("DEISMultistepScheduler", SD15)).__name__ == "DEISMultistepScheduler"


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "NoSuchScheduler"])
def test_a_scheduler_for_other_models_is_refused_by_name(name: str):
    with pytest.raises(ConfigError, match=name):
        scheduler(name, SD15)
