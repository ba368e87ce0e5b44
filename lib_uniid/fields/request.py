"""A request, and its style reference."""

import math

from lib_uniid.fields.person import MAX_PEOPLE
from lib_uniid.fields.rows import REQUIRED, Row, table
from lib_uniid.fields.shared import SHARED

STYLE_STRENGTH = math.exp(-0.5)
"""The official demo adds -0.5 to the logits of the style tokens, which multiplies their weights by this."""

STYLE = table(
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

REQUEST = table(
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
    *SHARED.values(),
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
