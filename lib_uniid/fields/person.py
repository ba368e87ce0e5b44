"""A person in a request or a generation: the rows, and the numbers that requests and settings inherit.

A number is a row of :data:`PERSON` and a line of :class:`PersonNumbers`.
"""

import unicodedata
from dataclasses import dataclass

from lib_uniid.fields.rows import REQUIRED, Row, numbers, table

MAX_PEOPLE = 8
MAX_REFERENCES = 16
MAX_FACE = 999
MAX_WORDS = 1000

REFERENCE = table(
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

MIX = table(
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

PERSON = table(
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

METHOD_NUMBERS = tuple(row for row in numbers(PERSON) if row.default is None)
"""The numbers of a person whose range and default are the method's; their rows have the widest range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonNumbers:
    """The numbers of a person in a request and in the settings."""

    weight: float = PERSON["weight"].default
    structure_scale: float | None = PERSON["structure_scale"].default
    start: float = PERSON["start"].default
    end: float = PERSON["end"].default


def unusable(words: str, row: Row) -> str | None:
    """What words of a person must be, if these are not: short enough, and without control characters."""
    if len(words) > row.high or any(unicodedata.category(one) in ("Cc", "Cs") for one in words):
        return f"a text of at most {row.high:g} characters on one line, without control characters"
    return None
