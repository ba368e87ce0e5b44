"""On a GPU a picture waits for the device at its beginning and end; a step does so only for its noise."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.hosts.diffusers.schedulers import SAMPLERS
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Identity
from lib_uniid.pipeline import Reference, Studio
from tests.red_faces import red_face_picture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]

NAMES = ("Anna", "Ben")
TOGETHER = GenerationSettings(
    prompt="two people", people=tuple(PersonSettings(name=name) for name in NAMES), cfg_scale=3.0
)

PER_STEP = {"dpmpp_sde": 1, "euler_a": 1, "unipc": 7}
"""Noise comes from the CPU, so that a seed gives one picture; UniPC solves equations in diffusers."""


@pytest.fixture(scope="module")
def studio(models: Path) -> Studio:
    return open_studio(models, device="cuda")


@pytest.fixture(scope="module")
def people(studio: Studio) -> dict[str, Identity]:
    faces = [red_face_picture((64, 64)), red_face_picture((190, 60))]
    return {
        name: studio.enrol(name, [Reference(picture=face, label=name, largest=True)])[0]
        for name, face in zip(NAMES, faces, strict=True)
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_step_waits_for_the_gpu(studio: Studio, people: dict[str, Identity], sampler: str):
    waits = [_waits(studio, replace(TOGETHER, sampler=sampler, steps=steps), people) for steps in (4, 4, 9)]
    assert waits[2] - waits[1] == 5 * PER_STEP.get(sampler, 0)  # the first also loads what later ones find


def test_two_people_come_out_as_on_the_cpu(models: Path, studio: Studio, people: dict[str, Identity]):
    """To within half precision, with drawn places: a router would turn rounding into another person."""
    left, right = np.zeros((2, 2, 8), np.float32)
    left[:, :4], right[:, 4:] = 1.0, 1.0
    masks = zip(TOGETHER.people, (left, right), strict=True)
    settings = replace(TOGETHER, people=tuple(replace(one, mask=mask) for one, mask in masks), steps=2)
    studios = studio, open_studio(models, device="cpu")
    there, here = (one.generate(settings, people)[0].picture.astype(int) for one in studios)
    plain = studio.generate(replace(settings, people=()), {})[0].picture.astype(int)
    assert 4 * np.abs(there - here).mean() < np.abs(there - plain).mean()


def _waits(studio: Studio, settings: GenerationSettings, people: dict[str, Identity]) -> int:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            studio.generate(settings, people)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(one.message) for one in caught)
