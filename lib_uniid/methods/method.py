"""The interface of a method to code outside its package."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.sites import Site
from lib_uniid.config import PersonSettings
from lib_uniid.encoders.features import IDFeatures


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestedIdentity:
    """A person of a generation: the settings, the features, and those of the people mixed in with shares."""

    settings: PersonSettings
    features: IDFeatures
    mixed: Sequence[tuple[IDFeatures, float]] = ()


@runtime_checkable
class Method(Protocol):
    """The networks of one method, opened from a models folder."""

    def plan(
        self,
        sites: Sequence[Site],
        people: Sequence[RequestedIdentity],
        null: Callable[[], IDFeatures],
        options: PlanOptions,
    ) -> Plan | None:
        """What is injected for these people into a UNet with these sites; None if nothing is injected.

        ``null`` gives the features of the null identity, which the uncond rows stand for.
        """
        ...
