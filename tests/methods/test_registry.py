"""Tests of what a method declares of the settings for all people."""

from typing import Any

import pytest

from lib_uniid.bases import SD15
from lib_uniid.errors import ConfigError
from lib_uniid.fields.shared import SharedSettings
from lib_uniid.methods.registry import MethodDeclaration, MethodNumber, require

START = MethodNumber(name="merge_start", low=0.0, high=0.5, alone=0.1, together=0.3)


def declared(**more: Any) -> MethodDeclaration:
    return MethodDeclaration(
        name="Toy", bases=(SD15,), encoder="x", open=lambda *_: pytest.fail("opened"), **more
    )


def test_a_method_with_what_is_asked_for_takes_it():
    method = declared(numbers=(START,), choices=("branches", "rescaling"))
    method.check_shared(SharedSettings(branches="text", rescaling="off", merge_start=0.5, identity_scale=2.0))


@pytest.mark.parametrize(
    ("settings", "field", "message"),
    [
        ({"branches": "text"}, "branches", "the method Toy has no branches; leave it out"),
        ({"rescaling": "on"}, "rescaling", "the method Toy has no normalized rescaling; leave it out"),
        ({"text_after": 1.0}, "text_after", "the method Toy has no text scale after the merge"),
        (
            {"merge_start": 0.6},
            "merge_start",
            r"merge start of the method Toy must lie in \[0, 0.5\]",
        ),
    ],
)
def test_what_a_method_does_not_have_is_refused(settings: dict[str, Any], field: str, message: str):
    with pytest.raises(ConfigError, match=message) as raised:
        declared(numbers=(START,)).check_shared(SharedSettings(**settings))
    assert raised.value.field == field


def test_settings_that_nobody_changed_fit_every_method():
    declared().check_shared(SharedSettings())


def test_a_number_of_none_is_the_default_for_the_number_of_people():
    assert [START.of(None, people) for people in (1, 2, 4)] == [0.1, 0.3, 0.3]
    assert START.of(0.2, 2) == 0.2
    assert START.of(0.0, 2) == 0.0


@pytest.mark.parametrize(("method", "default"), [(declared(), 1.0), (require("UniPortrait").value, 0.7)])
def test_every_method_has_an_identity_scale(method: MethodDeclaration, default: float):
    number = method.number("identity_scale")
    assert number is not None
    assert number.of(None, 1) == default
