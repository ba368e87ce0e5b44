"""What applies to all people: rows that a request and a generation share, and what both inherit."""

from dataclasses import dataclass
from typing import Literal, get_args

from lib_uniid.fields.rows import Place, Row, numbers, table

Routing = Literal["auto", "mask", "off"]
"""How image tokens are assigned to people: by the router, by drawn masks, or not (the mean of all)."""

Order = Literal["free", "left to right"]
"""Where people stand: as the router finds, or in the order of the request."""

_SCALES: frozenset[Place] = frozenset({"axis", "option"})


def _merge_scale(branch: str, when: str, meaning: str) -> Row:
    return Row(
        name=f"{branch}_{when}",
        kind="number",
        high=4.0,
        label=f"{branch.capitalize()} scale {when} the merge",
        meaning=meaning,
        unset="the method's",
        shown=_SCALES,
        of_people=True,
    )


_OF_METHODS = (
    Row(
        name="identity_scale",
        kind="number",
        high=2.0,
        label="Identity scale",
        info="Strength of all identities",
        meaning="how strongly all identities are injected",
        unset="the method's",
        of_people=True,
    ),
    Row(
        name="branches",
        kind="choice",
        default="both",
        choices=("both", "text", "adapter"),
        label="Branches",
        info="text: tokens in the prompt; adapter: attention in the UNet",
        meaning="how identities enter: as tokens in the prompt, through attention in the UNet, or both",
        of_people=True,
    ),
    Row(
        name="rescaling",
        kind="choice",
        default="auto",
        choices=("auto", "on", "off"),
        label="Normalized rescaling",
        info="Gives identities the norm of the text, so that the prompt is followed",
        meaning="give identities the norm of the text; auto is the method's choice",
        of_people=True,
    ),
    Row(
        name="order",
        kind="choice",
        default="free",
        choices=get_args(Order),
        label="Order",
        info="left to right: several people stand in the order of their tabs; masks win",
        meaning="where people without a mask stand: as the router finds, or in the order of the request",
        of_people=True,
    ),
    Row(
        name="merge_start",
        kind="number",
        high=1.0,
        label="Merge start",
        info="Share of the steps with the weaker scales before the merge",
        meaning="share of the steps with the scales before the merge; 1 keeps them to the end",
        unset="the method's",
        of_people=True,
    ),
    _merge_scale("text", "before", "strength of the tokens in the prompt before the merge"),
    _merge_scale("text", "after", "strength of the tokens in the prompt from the merge on"),
    _merge_scale("adapter", "before", "strength of the attention in the UNet before the merge"),
    _merge_scale("adapter", "after", "strength of the attention in the UNet from the merge on"),
)
"""What methods decide or do not have; see :class:`SharedSettings`."""

SHARED = table(
    Row(
        name="method",
        kind="method",
        label="Method",
        meaning="the method that injects identities; uniid plugins lists the names",
        unset="one for the base model",
        of_people=True,
    ),
    Row(
        name="routing",
        kind="choice",
        default="auto",
        choices=get_args(Routing),
        label="Routing",
        info="auto: the router decides; mask: your masks do; off: average all identities everywhere",
        meaning="assignment of places in the picture to people, by the router, by masks, or none",
        of_people=True,
    ),
    *_OF_METHODS,
)

SHARED_METHOD_NUMBERS = tuple(row for row in numbers(SHARED) if row.default is None)
"""The numbers for all people whose range and default are the method's; their rows have the widest range."""

METHOD_CHOICES = tuple(row for row in _OF_METHODS if row.kind == "choice")
"""The choices for all people that only some methods have; others have the row's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedNumbers:
    """The numbers that apply to all people and are shown in the panel."""

    identity_scale: float | None = SHARED["identity_scale"].default
    merge_start: float | None = SHARED["merge_start"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings(SharedNumbers):
    """What applies to all people and is the method's matter, in a request and in the settings."""

    branches: str = SHARED["branches"].default
    rescaling: str = SHARED["rescaling"].default
    order: str = SHARED["order"].default
    text_before: float | None = SHARED["text_before"].default
    text_after: float | None = SHARED["text_after"].default
    adapter_before: float | None = SHARED["adapter_before"].default
    adapter_after: float | None = SHARED["adapter_after"].default
