"""The people of one generation, as attention sees them: tokens, strength, and when and where they may be."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from einops import rearrange
from torch import Tensor

from lib_uniid.errors import ConfigError
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedIdentity:
    """One person of a generation.

    ``tokens`` is ``k d`` for all cond rows, or ``b k d`` with one entry per cond row. ``mask`` is drawn: 1
    where the person may appear, at any resolution with the latent's proportions. The person is injected while
    the share of the steps done lies in [start, end).
    """

    tokens: Float[Tensor, "*b k d"]
    weight: float = 1.0
    mask: Float[Tensor, "height width"] | None = None
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight <= 2.0:  # also refuses NaN
            raise ConfigError(f"a person's weight must lie in [0, 2], got {self.weight}")
        if not 0.0 <= self.start < self.end <= 1.0:
            raise ConfigError(
                f"start and end must satisfy 0 <= start < end <= 1, got {self.start} and {self.end}"
            )

    def present(self, progress: float) -> bool:
        """Whether the person is injected after this share of the steps."""
        return self.start <= progress and (progress < self.end or self.end == 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """How strong a branch is before and from a share of the steps on (UniID's ``start_merge_step``).

    A start of 1 is never reached: the last step begins before all steps are done.
    """

    before: float
    after: float
    start: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.before <= 4.0 and 0.0 <= self.after <= 4.0):  # also refuses NaN
            raise ConfigError(
                "the scales before and after the merge must lie in [0, 4], "
                f"got {self.before} and {self.after}"
            )
        if not 0.0 <= self.start <= 1.0:
            raise ConfigError(f"the start of the merge must lie in [0, 1], got {self.start}")

    def at(self, progress: float) -> float:
        """The scale after this share of the steps."""
        return self.before if progress < self.start else self.after


@dataclass(slots=True)
class Gains:
    """How strong each person is, from step to step; one for all sites. ``merge`` multiplies the scale."""

    people: Sequence[PlannedIdentity]
    scale: float
    merge: Merge | None = None
    _latest: tuple[float, tuple[float, ...]] | None = field(default=None, init=False, repr=False)

    def at(self, progress: float) -> tuple[float, ...]:
        """After this share of the steps: ``scale`` times the weight of those present, 0 for the others."""
        if self._latest is None or self._latest[0] != progress:
            scale = self.scale if self.merge is None else self.scale * self.merge.at(progress)
            gains = [scale * one.weight if one.present(progress) else 0.0 for one in self.people]
            self._latest = progress, tuple(gains)
        return self._latest[1]


def stacked(people: Sequence[PlannedIdentity]) -> Float[Tensor, "r i k d"]:
    """The tokens of all people; ``r`` is 1 where all cond rows share them. ConfigError for several shapes."""
    shapes = {tuple(person.tokens.shape) for person in people}
    if len(shapes) > 1:
        raise ConfigError(f"all people must have tokens of one shape, got {sorted(shapes)}; make them alike")
    tokens = rearrange([person.tokens for person in people], "i ... k d -> ... i k d")
    return tokens if tokens.ndim == 4 else tokens[None]
