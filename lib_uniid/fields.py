"""The table of fields: of a request, of its parts, and of a generation.

A row gives a field's name, its allowed values and how it is shown. The table drives the validation of
requests and settings, the panel's sliders, pasting, the axes of the X/Y/Z plot, the command line's options
and the tables of ``docs/``. A number of a person is a row of :data:`PERSON` and a line of
:class:`PersonNumbers`, which requests and settings inherit. This module uses only the standard library,
because it is imported when the WebUI starts.
"""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

MAX_PEOPLE = 8
MAX_PICTURES = 16
MAX_REFERENCES = 16
MAX_FACE = 999
MAX_SIDE = 2048
MAX_WORDS = 1000
STYLE_STRENGTH = math.exp(-0.5)
"""The official demo adds -0.5 to the logits of the style tokens, which multiplies their weights by this."""

Routing = Literal["auto", "mask", "off"]
"""How image tokens are assigned to people: by the router, by drawn masks, or not (the mean of all)."""

Order = Literal["free", "left to right"]
"""Where people stand: as the router finds, or in the order of the request."""

SAMPLERS = (
    "ddim",
    "dpmpp_2m",
    "dpmpp_2m_karras",
    "dpmpp_sde",
    "euler",
    "euler_a",
    "heun",
    "lms",
    "pndm",
    "unipc",
)
"""Short names; the class name of any diffusers scheduler is accepted too."""

Kind = Literal[
    "number",
    "whole",
    "flag",
    "choice",
    "text",
    "words",
    "name",
    "picture",
    "region",
    "method",
    "record",
    "list",
]
Place = Literal["panel", "axis", "option"]
"""Where a number is shown: as a slider of the panel, an axis of the plot, an option of the command line."""

REQUIRED: Final = object()
"""Marks a field without a default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field.

    A default of None makes None an allowed value; ``unset`` describes its effect. ``low`` and ``high`` limit
    a number, ``high`` the length of a list or of words; ``step`` is the slider's. ``label`` and ``info`` are
    the texts of its control. ``axis`` is the plot's label and ``option`` the command line's name, where these
    differ. ``meaning`` is shown by the command line's help and the docs. A ``folded`` slider is in the
    collapsed part of the panel. ``of_people`` marks a setting of a generation that has no effect without
    people.
    """

    name: str
    kind: Kind
    default: Any = None
    unset: str = ""
    low: float | int = 0.0
    high: float | int = 0.0
    step: float = 0.05
    choices: tuple[str, ...] = ()
    label: str = ""
    info: str = ""
    axis: str = ""
    option: str = ""
    meaning: str = ""
    shown: frozenset[Place] = frozenset(get_args(Place))
    folded: bool = False
    of_people: bool = False

    @property
    def range(self) -> str:
        """The allowed range of a number, as text."""
        return f"{self.low:g} to {self.high:g}" if self.low < self.high else f"{self.low:g}"

    @property
    def flag(self) -> str:
        """The command line's name, without leading dashes."""
        return (self.option or self.name).replace("_", "-")

    @property
    def label_in_text(self) -> str:
        """The label inside a sentence."""
        return self.label if self.label[1:2].isupper() else self.label[:1].lower() + self.label[1:]

    @property
    def default_text(self) -> str:
        """The default, as text."""
        if self.default is REQUIRED:
            return "required"
        default = f"{self.default:.2g}" if isinstance(self.default, float) else str(self.default)
        return self.unset or (default.lower() if self.kind == "flag" else default)


Table = Mapping[str, Row]


def _table(*rows: Row) -> Table:
    return {row.name: row for row in rows}


REFERENCE = _table(
    Row(name="picture", kind="picture", default=REQUIRED, meaning="a picture in base64, or a data URL"),
    Row(
        name="face",
        kind="whole",
        low=1,
        high=MAX_FACE,
        meaning="the number of the face, counted from the left",
        unset="the only face",
    ),
    Row(name="largest", kind="flag", default=False, meaning="take the largest face"),
)

MIX = _table(
    Row(
        name="share",
        kind="number",
        default=REQUIRED,
        high=1.0,
        label="Mix share",
        info="Share of the other person, 0 to 1",
        axis="Mix share of the other person",
        meaning="the share of the other person; the sum of the shares is at most 1",
    ),
    Row(name="id", kind="text", meaning="of an enrolled person", unset="the person of that name"),
    Row(name="name", kind="name", meaning="of an enrolled person", unset="the person of that id"),
)

PERSON = _table(
    Row(name="id", kind="text", meaning="of an enrolled person", unset="the person of that name"),
    Row(
        name="name",
        kind="name",
        meaning="of an enrolled person; with references it is only a label",
        unset="the person of that id, or the references",
    ),
    Row(
        name="fingerprint",
        kind="text",
        meaning="written by infotexts; UniID adds a note if the person was re-enrolled since",
        unset="not compared",
    ),
    Row(
        name="references",
        kind="list",
        default=(),
        high=MAX_REFERENCES,
        meaning="pictures in base64 (all pictures of a request at most 200 megapixels together), or objects "
        "as described below",
        unset="none",
    ),
    Row(
        name="weight",
        kind="number",
        default=1.0,
        high=2.0,
        label="Weight",
        meaning="how strongly the person is injected",
    ),
    Row(
        name="structure_scale",
        kind="number",
        high=2.0,
        label="Structure scale",
        option="structure",
        meaning="how much of the face's shape, pose and expression is copied",
        unset="the method's",
    ),
    Row(
        name="mix",
        kind="list",
        default=(),
        high=MAX_PEOPLE,
        meaning="other enrolled people to blend in; objects as described below",
        unset="none",
    ),
    Row(
        name="mask",
        kind="picture",
        meaning="a picture in base64, white where the person may appear; in a picture with transparency, "
        "the opaque parts count",
        unset="the router decides",
    ),
    Row(
        name="region",
        kind="region",
        label="Region",
        meaning="a named part of the picture, instead of a mask",
        unset="the router decides",
    ),
    Row(
        name="start",
        kind="number",
        default=0.0,
        high=1.0,
        label="Start",
        info="Share of the steps, 0 to 1",
        meaning="share of the steps before the person is injected",
        folded=True,
    ),
    Row(
        name="end",
        kind="number",
        default=1.0,
        high=1.0,
        label="End",
        info="Share of the steps, 0 to 1",
        meaning="share of the steps after which the person is no longer injected",
        folded=True,
    ),
    Row(name="enabled", kind="flag", default=True, label="On", meaning="if false, this person is left out"),
    Row(
        name="prompt",
        kind="words",
        default="",
        high=MAX_WORDS,
        label="Own words",
        info="What this person alone wears, does or holds; the prompt describes the picture",
        option="words",
        meaning="words that describe this person alone; they count where the routing puts the person",
        unset="none",
    ),
)

STYLE = _table(
    Row(name="picture", kind="picture", default=REQUIRED, label="Style picture", meaning="in base64"),
    Row(
        name="strength",
        kind="number",
        default=STYLE_STRENGTH,
        low=0.01,
        high=2.0,
        step=0.01,
        label="Style strength",
        info="Weight of the style picture; a style picture makes generation slower",
        option="style_strength",
        meaning="weight of the style picture's image tokens",
    ),
)

_ROUTING = Row(
    name="routing",
    kind="choice",
    default="auto",
    choices=get_args(Routing),
    label="Routing",
    info="auto: the router decides; mask: your masks do; off: average all identities everywhere",
    meaning="assignment of places in the picture to people, by the router, by masks, or none",
    of_people=True,
)
_METHOD = Row(
    name="method",
    kind="method",
    label="Method",
    meaning="the method that injects identities; uniid plugins lists the names",
    unset="one for the base model",
    of_people=True,
)
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
        meaning="share of the steps with the scales before the merge; 1 keeps them to the end",
        unset="the method's",
        shown=_SCALES,
        of_people=True,
    ),
    _merge_scale("text", "before", "strength of the tokens in the prompt before the merge"),
    _merge_scale("text", "after", "strength of the tokens in the prompt from the merge on"),
    _merge_scale("adapter", "before", "strength of the attention in the UNet before the merge"),
    _merge_scale("adapter", "after", "strength of the attention in the UNet from the merge on"),
)
"""What methods decide or do not have; see :class:`SharedSettings`."""

REQUEST = _table(
    Row(
        name="version",
        kind="whole",
        default=REQUIRED,
        low=1,
        high=1,
        meaning="the version of the request",
        shown=frozenset(),
    ),
    Row(name="people", kind="list", default=REQUIRED, high=MAX_PEOPLE, meaning="as described below"),
    Row(
        name="enabled",
        kind="flag",
        default=True,
        label="Enable UniID",
        meaning="if false, the request is ignored",
    ),
    _METHOD,
    _ROUTING,
    *_OF_METHODS,
    Row(
        name="style",
        kind="record",
        label="Style reference",
        meaning="the style reference, an object as described below",
        unset="none",
    ),
    Row(
        name="check",
        kind="flag",
        default=True,
        label="Check identities in the result",
        meaning="check whether the people are in the finished pictures",
    ),
    Row(
        name="fallback",
        kind="choice",
        default="fail",
        choices=("fail", "plain"),
        label="On error, generate without identities",
        meaning="the reaction to an error; plain generates without identities and adds a note",
    ),
    Row(
        name="show_routing",
        kind="flag",
        default=False,
        label="Show routing map",
        meaning="add pictures that tint each person's places; needs several people",
    ),
)

GENERATION = _table(
    _METHOD,
    _ROUTING,
    *_OF_METHODS,
    Row(
        name="retries",
        kind="whole",
        default=0,
        high=20,
        label="Retries",
        meaning="number of further seeds to try if a person is missing",
        of_people=True,
    ),
    Row(name="steps", kind="whole", default=25, low=1, high=150, label="Steps", meaning="sampling steps"),
    Row(
        name="pictures",
        kind="whole",
        default=1,
        low=1,
        high=MAX_PICTURES,
        label="Pictures",
        meaning="number of pictures; each has the next seed",
    ),
    Row(
        name="cfg_scale",
        kind="number",
        default=7.5,
        low=1.0,
        high=30.0,
        step=0.5,
        label="CFG scale",
        meaning="how strictly the prompt is followed",
    ),
    Row(
        name="sampler",
        kind="text",
        default=SAMPLERS[0],
        choices=SAMPLERS,
        label="Sampler",
        meaning=f"{', '.join(SAMPLERS)}, or a scheduler of diffusers",
    ),
    Row(
        name="strength",
        kind="number",
        default=0.6,
        low=0.01,
        high=1.0,
        label="Strength",
        meaning="how much of the start picture is changed",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonNumbers:
    """The numbers of a person in a request and in the settings."""

    weight: float = PERSON["weight"].default
    structure_scale: float | None = PERSON["structure_scale"].default
    start: float = PERSON["start"].default
    end: float = PERSON["end"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedNumbers:
    """The numbers that apply to all people and are shown in the panel."""

    identity_scale: float | None = REQUEST["identity_scale"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings(SharedNumbers):
    """What applies to all people and is the method's matter, in a request and in the settings."""

    branches: str = REQUEST["branches"].default
    rescaling: str = REQUEST["rescaling"].default
    order: str = REQUEST["order"].default
    merge_start: float | None = REQUEST["merge_start"].default
    text_before: float | None = REQUEST["text_before"].default
    text_after: float | None = REQUEST["text_after"].default
    adapter_before: float | None = REQUEST["adapter_before"].default
    adapter_after: float | None = REQUEST["adapter_after"].default


def numbers_of(
    value: object, kind: type[PersonNumbers] | type[SharedNumbers] = PersonNumbers
) -> dict[str, Any]:
    """The numbers of a person, or of another ``kind``, by name, from any object with these attributes."""
    return {one.name: getattr(value, one.name) for one in fields(kind)}


def unusable(words: str, row: Row) -> str | None:
    """What words of a person must be, if these are not: short enough, and without control characters."""
    if len(words) > row.high or any(unicodedata.category(one) in ("Cc", "Cs") for one in words):
        return f"a text of at most {row.high:g} characters on one line, without control characters"
    return None


def numbers(table: Table, shown: Place | None = None) -> list[Row]:
    """The rows of a table that hold a number; with ``shown``, only those of that place."""
    return [
        row for row in table.values() if row.kind in ("number", "whole") and (not shown or shown in row.shown)
    ]


METHOD_NUMBERS = tuple(row for row in numbers(PERSON) if row.default is None)
"""The numbers of a person whose range and default are the method's; their rows have the widest range."""

SHARED_METHOD_NUMBERS = tuple(row for row in numbers(REQUEST) if row.default is None)
"""Those for all people."""

METHOD_CHOICES = tuple(row for row in _OF_METHODS if row.kind == "choice")
"""The choices for all people that only some methods have; others have the row's default."""
