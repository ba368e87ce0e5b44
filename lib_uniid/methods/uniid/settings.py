"""What the method decides of the settings, and what it makes of them."""

from dataclasses import dataclass

from lib_uniid.attention.deciding import TRAINED, UNTRAINED, Deciding, deciding
from lib_uniid.attention.identities import Merge
from lib_uniid.attention.plan import PlanOptions
from lib_uniid.config import Routing
from lib_uniid.methods.uniid.numbers import (
    ADAPTER_AFTER,
    ADAPTER_BEFORE,
    IDENTITY_SCALE,
    START,
    TEXT_AFTER,
    TEXT_BEFORE,
)

TEXT = Merge(before=TEXT_BEFORE.alone, after=TEXT_AFTER.alone, start=START.alone)
ADAPTER = Merge(before=ADAPTER_BEFORE.alone, after=ADAPTER_AFTER.alone, start=START.alone)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """How the people of a plan act together.

    ``scale`` multiplies both branches. ``rescaled`` gives text tokens the norms of names and the adapter
    branch that of the text attention; without it both are as in training. ``latent_size`` (rows, columns) is
    needed with drawn masks and where scores are smoothed or kept.
    """

    scale: float = IDENTITY_SCALE.alone
    text: Merge = TEXT
    adapter: Merge = ADAPTER
    rescaled: bool = True
    routing: Routing = "auto"
    latent_size: tuple[int, int] | None = None
    deciding: Deciding = UNTRAINED


def settings_of(options: PlanOptions, people: int, *, trained: bool = False) -> PlanSettings:
    """The settings of a plan for this number of people, with a trained router or without one."""
    start = START.of(options.merge_start, people)
    return PlanSettings(
        scale=IDENTITY_SCALE.of(options.identity_scale, people),
        text=Merge(
            before=TEXT_BEFORE.of(options.text_before, people),
            after=TEXT_AFTER.of(options.text_after, people),
            start=start,
        ),
        adapter=Merge(
            before=ADAPTER_BEFORE.of(options.adapter_before, people),
            after=ADAPTER_AFTER.of(options.adapter_after, people),
            start=start,
        ),
        rescaled=options.rescaling != "off",
        routing=options.routing,
        latent_size=options.latent_size,
        deciding=deciding(options.order, TRAINED if trained else UNTRAINED),
    )
