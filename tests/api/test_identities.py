"""An error in finding people has the field of the request that is wrong, and names it once."""

from pathlib import Path
from typing import Any

import pytest

from lib_uniid.api.identities import find_identities
from lib_uniid.api.request import parse
from lib_uniid.errors import CheckpointMismatchError, ConfigError, UniIDError
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Library
from lib_uniid.pipeline import Studio
from tests.hosts.webui.asking import BLACK, FACE, NO_FACE, TWO_FACES

ANNA = {"name": "Anna"}
WRONG: dict[str, tuple[list[dict[str, Any]], str]] = {
    "people[0].name": ([{"name": "Eve"}], "people[0].name: no person named 'Eve'"),
    "people[0].id": ([{"id": "pictures-0123"}], "people[0].id: 'pictures-0123' is of pictures"),
    "people[0].mix[0].name": (
        [{**ANNA, "mix": [{"name": "Eve", "share": 0.5}]}],
        "people[0].mix[0].name: no person named 'Eve'",
    ),
    "people[1]": ([ANNA, ANNA], "people[1] is in the request twice"),
    "people[0].references[1]": (
        [{"references": [FACE, NO_FACE]}],
        "people[0].references[1]: no face was found",
    ),
    "people[0].references[0]": (
        [{"references": [TWO_FACES]}],
        "people[0].references[0]: 2 faces were found",
    ),
    "people[0].references[0].picture": (
        [{"references": ["aGk="]}],
        "people[0].references[0].picture",
    ),
    "people[0]": ([{"name": "a=b", "references": [FACE]}], "people[0]: a person's name must not contain"),
    "people[0].mask": ([{**ANNA, "mask": BLACK}], "people[0]: Anna: mask is empty"),
    "people[1].mask": (
        [{"name": "Ben"}, {**ANNA, "mask": "sha256:00"}],
        "people[1].mask: an infotext has only the digest",
    ),
}


@pytest.fixture(scope="module")
def studio(webui_models: Path) -> Studio:
    return open_studio(webui_models, device="cpu")


@pytest.mark.parametrize("field", WRONG)
def test_an_error_names_its_field(field: str, studio: Studio, webui_models: Path):
    people, message = WRONG[field]
    with pytest.raises(UniIDError) as refused:
        find_identities(
            parse({"version": 1, "people": people}),
            studio,
            Library(folder=webui_models / "uniid" / "library"),
        )
    assert refused.value.field == field
    assert str(refused.value).startswith(message)
    assert str(refused.value).count("people[") == 1


def test_an_error_with_a_field_keeps_its_attributes():
    error = CheckpointMismatchError("does not fit", missing=["a"])
    error.within("people[0]")
    assert (str(error), error.field, error.missing) == ("people[0]: does not fit", "people[0]", {"a"})
    inner = ConfigError("Anna: weight must lie in [0, 2], got 3", field="weight")
    inner.within("people[0]")
    assert (str(inner), inner.field) == (
        "people[0]: Anna: weight must lie in [0, 2], got 3",
        "people[0].weight",
    )
