"""Settings of a generation and of each person in it, validated on construction."""

import hashlib
import math
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib_uniid.errors import ConfigError
from lib_uniid.fields.generation import GENERATION, MAX_SIDE, SAMPLERS
from lib_uniid.fields.person import MAX_PEOPLE, MIX, PERSON, PersonNumbers, unusable
from lib_uniid.fields.request import STYLE
from lib_uniid.fields.rows import Row, Table, numbers
from lib_uniid.fields.shared import Routing, SharedSettings
from lib_uniid.typing import Float32, UInt8

MAX_SEED = 2**32 - 1
RANDOM_SEED = -1
SAME_PERSON = 0.3
"""Least cosine similarity of two faces of one person; ArcFace models separate pairs at 0.25 to 0.35."""

DDIM = ("ddim", "DDIMScheduler")
"""Names of the only sampler that exactly reverses the inversion of a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSettings(PersonNumbers):
    """How one person enters one generation.

    ``structure_scale`` is how much of the face's shape, pose and expression is copied beside the identity;
    None takes the method's default for the number of people. ``mix`` blends in other people, as
    (name, share) pairs; this person keeps the remaining share. ``mask`` is 1 where the person may appear and
    0 elsewhere, at any resolution with the picture's proportions. The person is injected from the fraction
    ``start`` of the steps up to ``end``. ``prompt`` are words that describe this person alone.
    """

    name: str
    mix: tuple[tuple[str, float], ...] = ()
    mask: Float32[np.ndarray, "height width"] | None = None
    prompt: str = PERSON["prompt"].default

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("a person has an empty name; give every person a name", field="name")
        if allowed := unusable(self.prompt, PERSON["prompt"]):
            raise ConfigError(
                f"{self.name}: own words must be {allowed}, got {self.prompt[:60]!r}", field="prompt"
            )
        _check(PERSON, self, f"{self.name}: ")
        if not self.start < self.end:
            raise ConfigError(
                f"{self.name}: start must be less than end, got {self.start} and {self.end}", field="start"
            )
        for other, share in self.mix:
            if other == self.name:
                raise ConfigError(
                    f"{self.name}: a person cannot be mixed with themselves; name another person", field="mix"
                )
            _within("mix", f"{self.name}: share of {other}", MIX["share"], share)
        total = math.fsum(share for _, share in self.mix)
        if total > 1.0 + 1e-6:
            raise ConfigError(
                f"{self.name}: the sum of the mix shares must not exceed 1, got {total:g}", field="mix"
            )
        self._check_mask()

    def _check_mask(self) -> None:
        if self.mask is None:
            return
        if self.mask.ndim != 2 or not (self.mask >= 0.0).all() or not (self.mask <= 1.0).all():
            raise ConfigError(
                f"{self.name}: mask must be one grey picture with values in [0, 1]", field="mask"
            )
        if not self.mask.any():
            raise ConfigError(f"{self.name}: mask is empty; draw where the person may appear", field="mask")

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about settings that are allowed but have no effect."""
        if self.mask is None or self.mask.min() < 1.0:
            return ()
        return (f"{self.name}: the mask covers the whole picture; it limits nothing",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StyleSettings:
    """A style reference for the pictures of a generation.

    ``picture`` may have any size: it is scaled to cover the generated size and cropped to the centre.
    ``strength`` is the factor on the attention weight of its image tokens in self-attention: 1 gives them
    the same weight as tokens of the generated picture.
    """

    picture: UInt8[np.ndarray, "height width 3"]
    strength: float = STYLE["strength"].default

    def __post_init__(self) -> None:
        shape, kind = self.picture.shape, self.picture.dtype
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ConfigError(
                "style picture must be RGB in 8 bits, an array of height x width x 3 of uint8; "
                f"got {' x '.join(map(str, shape))} of {kind}",
                field="picture",
            )
        _check(STYLE, self)

    @property
    def sha256(self) -> str:
        """SHA-256 of the decoded picture in hex; records hold it in place of the picture."""
        digest = hashlib.sha256(f"{self.picture.shape}".encode())
        digest.update(np.ascontiguousarray(self.picture).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings(SharedSettings):
    """Settings of one call. Sizes are in pixels; None takes the size the model was trained on.

    Picture n of the call has the seed ``seed + n``. ``strength`` applies only with a start picture: the share
    of the steps that is run on it. ``retries`` is the number of further seeds to try for a picture in which
    a person is missing. With a ``style`` the sampler is DDIM, and the prompt may be empty; the prompt applies
    to the generated pictures, and the style picture is sampled with an empty prompt.
    ``method`` is the name of a registered method; None takes the first that works with the base
    model.
    """

    prompt: str
    negative_prompt: str = ""
    people: tuple[PersonSettings, ...] = ()
    width: int | None = None
    height: int | None = None
    steps: int = GENERATION["steps"].default
    cfg_scale: float = GENERATION["cfg_scale"].default
    seed: int = 0
    pictures: int = GENERATION["pictures"].default
    sampler: str = GENERATION["sampler"].default
    style: StyleSettings | None = None
    method: str | None = None
    routing: Routing = GENERATION["routing"].default
    strength: float = GENERATION["strength"].default
    retries: int = GENERATION["retries"].default

    def __post_init__(self) -> None:
        if not self.prompt.strip() and self.style is None:
            raise ConfigError("the prompt is empty; describe the picture in a few words", field="prompt")
        _side("width", self.width)
        _side("height", self.height)
        _check(GENERATION, self)
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(
                f"seed must lie in [0, {MAX_SEED}], or be -1 for a random seed, got {self.seed}", field="seed"
            )
        if self.sampler not in SAMPLERS and not self.sampler.endswith("Scheduler"):
            known = ", ".join(SAMPLERS)
            raise ConfigError(
                f"sampler must be {known} or a diffusers scheduler, got {self.sampler!r}", field="sampler"
            )
        if self.style is not None and self.sampler not in DDIM:
            raise ConfigError(
                f"sampler must be ddim with a style picture, got {self.sampler!r}; leave the sampler out",
                field="sampler",
            )
        self._check_people()

    def _check_people(self) -> None:
        if len(self.people) > MAX_PEOPLE:
            raise ConfigError(
                f"at most {MAX_PEOPLE} people fit into one picture, got {len(self.people)}", field="people"
            )
        names = [person.name for person in self.people]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f"{name!r} is named twice; name each person once per picture", field="people"
                )
        unmasked = [person.name for person in self.people if person.mask is None]
        if self.routing == "mask" and unmasked:
            raise ConfigError(
                f"routing by mask needs a mask for each person; {', '.join(unmasked)} has none",
                field="routing",
            )


def drawn_seed(seed: int) -> int:
    """A random seed for -1; any other value is returned unchanged, and the settings check it."""
    return secrets.randbelow(MAX_SEED + 1) if seed == RANDOM_SEED else seed


def _check(table: Table, settings: object, prefix: str = "") -> None:
    """Raise ConfigError unless all numbers and choices of the table are allowed; None must be the default."""
    for row in table.values():
        value = getattr(settings, row.name, None)
        if row.kind == "choice" and value not in row.choices:
            known = ", ".join(row.choices)
            raise ConfigError(
                f"{prefix}{row.label_in_text} must be one of {known}, got {value!r}", field=row.name
            )
    for row in numbers(table):
        value = getattr(settings, row.name)
        if value is None and row.default is None:
            continue
        _within(row.name, prefix + row.label_in_text, row, value)


def _within(field: str, label: str, row: Row, value: Any) -> None:
    if not row.low <= value <= row.high:  # also refuses NaN
        raise ConfigError(f"{label} must lie in [{row.low:g}, {row.high:g}], got {value:g}", field=field)


def _side(field: str, value: int | None) -> None:
    if value is not None and (value % 8 or not 64 <= value <= MAX_SIDE):
        raise ConfigError(f"{field} must be a multiple of 8 from 64 to {MAX_SIDE}, got {value}", field=field)
