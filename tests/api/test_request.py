"""The request: what is allowed gets through, and everything else is refused with the name of its field."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_uniid.api.request import PersonRequest, Request, from_arguments, parse, parse_json, to_dict
from lib_uniid.errors import ConfigError

ANNA = {"name": "Anna"}


def request(*people: object, **values: object) -> dict[str, Any]:
    return {"version": 1, "people": list(people), **values}


def test_a_person_by_name_is_enough():
    assert parse(request(ANNA)) == Request(version=1, people=(PersonRequest(name="Anna"),))


def test_a_reference_may_be_the_picture_alone():
    short, long = (
        parse(request({"references": [one]})).people[0].references for one in ("aGk=", {"picture": "aGk="})
    )
    assert short == long


def test_whole_numbers_are_numbers():
    weight = parse(request(ANNA | {"weight": 1})).people[0].weight
    assert isinstance(weight, float)


WRONG = {
    "the request must be an object, got null": None,
    "the request must be an object, got [1]": [1],
    "version is missing; the request needs it": {"people": [ANNA]},
    "version must be 1, the version of the request that this extension reads, got 2": request()
    | {"version": 2},
    "version must be 1, the version of the request that this extension reads, got true": request()
    | {"version": True},
    "people is missing; the request needs it": {"version": 1},
    "people must name at least one person who is enabled": request(),
    "people must be a list of at most 8, got null": request() | {"people": None},
    "people must be a list of at most 8, got": request(*[ANNA] * 9),
    "people[1] must be an object, got": request(ANNA, "Ben"),
    "people[0].wieght is unknown; allowed fields: id, name, ": request(ANNA | {"wieght": 1.0}),
    'people[0].weight must be a number from 0 to 2, got "1"': request(ANNA | {"weight": "1"}),
    "people[0].weight must be a number from 0 to 2, got null": request(ANNA | {"weight": None}),
    "people[0].weight must be a number from 0 to 2, got true": request(ANNA | {"weight": True}),
    "people[0].weight must be a number from 0 to 2, got 2.5": request(ANNA | {"weight": 2.5}),
    "people[0].weight must be a number from 0 to 2, got NaN": request(ANNA | {"weight": float("nan")}),
    "people[0].name must be a text of 1 to 200 characters, got 7": request({"name": 7}),
    "people[0] must have the id or the name of an enrolled person": request({"weight": 1.0}),
    "people[0] has both id and references": request({"id": "x", "references": ["aGk="]}),
    "people[0].references[0].face must be a whole number from 1 to 999, got 1.5": request(
        {"references": [{"picture": "aGk=", "face": 1.5}]}
    ),
    "people[0].references[0] has both face and largest": request(
        {"references": [{"picture": "aGk=", "face": 1, "largest": True}]}
    ),
    "people[0].start must lie before people[0].end, got 0.5 and 0.5": request(
        ANNA | {"start": 0.5, "end": 0.5}
    ),
    "people[0].mix[0].share is missing": request(ANNA | {"mix": [{"name": "Ben"}]}),
    "people[0].mix[0] must have either id or name": request(ANNA | {"mix": [{"share": 0.5}]}),
    "people[0].mix must have shares of at most 1 together, got 1.2": request(
        ANNA | {"mix": [{"name": "Ben", "share": 0.6}, {"name": "Cid", "share": 0.6}]}
    ),
    'routing must be one of auto, mask, off, got "masks"': request(ANNA, routing="masks"),
    "people[0] must have a mask or a region if routing is mask": request(ANNA, routing="mask"),
    "people[0].region must be one of left half, right half": request({**ANNA, "region": "left"}),
    "people[0] has both mask and region": request({**ANNA, "region": "left half", "mask": "a"}),
    'style must be an object, got "a picture"': request(ANNA, style="a picture"),
    "style.picture is missing; style needs it": request(ANNA, style={}),
    "style.strength must be a number from 0.01 to 2, got 0": request(
        ANNA, style={"picture": "aGk=", "strength": 0}
    ),
    "style.weight is unknown; allowed fields: picture, strength": request(
        ANNA, style={"picture": "aGk=", "weight": 1}
    ),
    'enabled must be true or false, got "yes"': request(ANNA, enabled="yes"),
}


WRONG_FIELDS = {
    "the request must be an object, got null": None,
    "version is missing; the request needs it": "version",
    "people[0].wieght is unknown; allowed fields: id, name, ": "people[0].wieght",
    "people[0].weight must be a number from 0 to 2, got 2.5": "people[0].weight",
    "people[0] has both id and references": "people[0]",
    "people[0].mix[0].share is missing": "people[0].mix[0].share",
    "style.picture is missing; style needs it": "style.picture",
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named_with_its_field_and_what_is_allowed(message: str):
    with pytest.raises(ConfigError) as refused:
        parse(WRONG[message])
    assert str(refused.value).startswith(message)
    field = refused.value.field
    assert message.startswith(field or "the request")
    assert field == WRONG_FIELDS.get(message, field)


def test_a_picture_is_not_poured_into_a_message():
    with pytest.raises(ConfigError, match=r"\.\.\. \(5000\d characters\)$") as refused:
        parse(request({"name": "x" * 50000}))
    assert len(str(refused.value)) < 250


def test_text_that_is_no_json_is_shown():
    with pytest.raises(ConfigError, match=r'^the request must be JSON \(.*\), got "\{oops"'):
        parse_json("{oops")


def test_text_nested_beyond_measure_is_refused():
    with pytest.raises(ConfigError, match="must be JSON"):
        parse_json("[" * 100_000)


# --- what the hosts pass ---


def test_a_dict_is_enabled_by_default():
    assert from_arguments(request(ANNA)) == from_arguments(request(ANNA), True)
    assert from_arguments(request(ANNA), False) is not None
    assert from_arguments(request(ANNA, enabled=False), True) is None


def test_text_is_used_only_with_the_switch():
    text = json.dumps(request(ANNA))
    assert from_arguments() is None
    assert from_arguments(text, False) is None
    assert from_arguments(text, True) == parse_json(text)
    with pytest.raises(ConfigError, match="must be JSON"):
        from_arguments("", True)


def test_null_in_the_place_of_a_request_is_refused():
    with pytest.raises(ConfigError, match="the request must be an object, got null"):
        from_arguments(None)


def test_a_switch_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="the switch, must be true or false, got 'yes'"):
        from_arguments("{}", "yes")


# --- there and back ---

SHARES = st.floats(0, 0.125)
NAMES = st.text(min_size=1, max_size=20).filter(str.strip)
PICTURES = st.fixed_dictionaries({"picture": NAMES}, optional={"face": st.integers(1, 999)})
PEOPLE = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "references": st.lists(PICTURES, max_size=3),
        "weight": st.floats(0, 2),
        "structure_scale": st.none() | st.floats(0, 2),
        "mix": st.lists(st.fixed_dictionaries({"name": NAMES, "share": SHARES}), max_size=8),
        "mask": st.none() | NAMES,
        "start": st.floats(0, 0.4),
        "end": st.floats(0.5, 1),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"version": st.just(1), "people": st.lists(PEOPLE, min_size=1, max_size=8)},
    optional={"routing": st.sampled_from(["auto", "off"]), "identity_scale": st.floats(0, 2)},
)


@settings(max_examples=50)
@given(REQUESTS)
def test_a_request_equals_the_one_read_from_its_json(raw: dict[str, Any]):
    read = parse(raw)
    assert parse_json(json.dumps(to_dict(read))) == read


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["version", "people", "name", "references", "mix", "weight", "x"]),
            inner,
            max_size=4,
        )
    ),
)


@settings(max_examples=200)
@given(JSON)
def test_any_input_is_read_or_refused_in_a_sentence(raw: Any):
    try:
        answer = parse(raw)
    except ConfigError as refused:
        answer = str(refused)
    assert isinstance(answer, Request) or len(answer.split()) > 3
