"""Who is drawn: identities (what makes a person) and looks (what changes from picture to picture)."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lib_uniid.typing import Float

TRAITS = (
    "face_width",
    "jaw",
    "skin",
    "skin_warmth",
    "eye_spacing",
    "eye_size",
    "eye_height",
    "eye_tilt",
    "iris",
    "brow_thickness",
    "brow_tilt",
    "brow_height",
    "nose_length",
    "nose_width",
    "mouth_width",
    "mouth_height",
    "lips",
    "lip_colour",
    "mole",
    "mole_x",
    "mole_y",
    "beard",
    "hair_style",
    "hair_line",
    "natural_hair",
)
"""One identity is a point in [-1, 1] to the power of these."""

HAIR_STYLES = ("short", "long", "afro", "bald", "bob", "bun")
HAIR_COLOURS = ("black", "brown", "blond", "red", "blue")
NATURAL_HAIR_COLOURS = 4


def choice_of(trait: Tensor, options: int) -> Tensor:
    """Read a categorical trait: [-1, 1] cut into equal parts."""
    return ((trait + 1) / 2 * options).long().clamp(0, options - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What a person looks like in one picture, apart from who it is; every field is ``[n]``."""

    smile: Tensor  # -1 sad .. +1 smiling
    age: Tensor  # 0 young .. 1 old
    glasses: Tensor  # 0 or 1
    hair: Tensor  # index into HAIR_COLOURS
    shirt: Tensor  # index into scenes.SHIRT_COLOURS
    yaw: Tensor  # -1 .. 1, about 35 degrees each way
    roll: Tensor  # radians
    light: Tensor  # -1 .. 1, from the left or the right

    def __getitem__(self, index: Tensor | slice) -> "Looks":
        return Looks(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @staticmethod
    def join(parts: "list[Looks]") -> "Looks":
        """Concatenate looks along the first axis."""
        return Looks(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Looks)})


def sample_identities(count: int, generator: torch.Generator) -> Float[Tensor, "n traits"]:
    """Draw random people."""
    return torch.rand(count, len(TRAITS), generator=generator) * 2 - 1


def trait(identities: Float[Tensor, "n traits"], name: str) -> Float[Tensor, " n"]:
    """One named trait of every identity."""
    return identities[:, TRAITS.index(name)]


def natural_hair(identities: Float[Tensor, "n traits"]) -> Tensor:
    """The hair colour people have when nothing says otherwise, as an index into ``HAIR_COLOURS``."""
    return choice_of(trait(identities, "natural_hair"), NATURAL_HAIR_COLOURS)


def sample_looks(identities: Float[Tensor, "n traits"], generator: torch.Generator) -> Looks:
    """Looks as they occur: half neutral, a third old, a third with glasses, dyed hair now and then."""
    count = len(identities)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    mood = uniform()
    smile = torch.where(
        mood < 0.35, uniform(0.6, 1.0), torch.where(mood < 0.6, uniform(-1.0, -0.6), uniform(-0.15, 0.15))
    )
    age = torch.where(uniform() < 0.35, uniform(0.75, 1.0), uniform(0.0, 0.15))
    dyed = torch.randint(0, len(HAIR_COLOURS), (count,), generator=generator)
    return Looks(
        smile=smile,
        age=age,
        glasses=(uniform() < 0.35).float(),
        hair=torch.where(uniform() < 0.4, dyed, natural_hair(identities)),
        shirt=torch.randint(0, 6, (count,), generator=generator),
        yaw=uniform(-1.0, 1.0) * uniform().sqrt(),
        roll=uniform(-0.16, 0.16),
        light=uniform(-1.0, 1.0),
    )
