"""diffusers' schedulers by name, configured for a base family."""

import inspect
from typing import Any

import diffusers
from diffusers.schedulers import KarrasDiffusionSchedulers

from lib_uniid.bases import Base
from lib_uniid.errors import ConfigError
from lib_uniid.fields.generation import SAMPLERS

NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"timestep_spacing": "leading"}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
}


def scheduler(name: str, base: Base, prediction: str = "epsilon") -> Any:
    """A new scheduler by its short name or by the class name of a scheduler for Stable Diffusion.

    ``ConfigError`` if diffusers has no such scheduler, or has it for another type of model.
    """
    kind, special = NAMED.get(name, (name, {}))
    if kind not in KarrasDiffusionSchedulers.__members__:
        raise ConfigError(
            f"diffusers has no scheduler {name!r} for Stable Diffusion; use one of {', '.join(SAMPLERS)}"
        )
    return _set_up(kind, special, base, prediction)


def inverse_scheduler(base: Base, prediction: str = "epsilon") -> Any:
    """The inverse of DDIM, from a picture to noise, on the timesteps of ``ddim``."""
    _, special = NAMED["ddim"]
    return _set_up("DDIMInverseScheduler", special, base, prediction)


def takes_generator(chosen: Any) -> bool:
    """Whether the scheduler draws noise in its steps from a given generator."""
    return "generator" in inspect.signature(chosen.step).parameters


def _set_up(kind: str, special: dict[str, Any], base: Base, prediction: str) -> Any:
    factory = getattr(diffusers, kind)
    known = inspect.signature(factory.__init__).parameters
    options = _common(base) | {"prediction_type": prediction} | special
    return factory(**{key: value for key, value in options.items() if key in known})


def _common(base: Base) -> dict[str, Any]:
    first, last = base.betas
    return {
        "num_train_timesteps": base.trained_steps,
        "beta_start": first,
        "beta_end": last,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": base.steps_offset,
    }
