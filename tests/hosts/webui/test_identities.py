"""People of a request: enrolled or shown, mixed, switched off, and checked in the picture."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.corpus.pictures import flat_png
from lib_uniid.faces.detection import Face, FaceFinder
from lib_uniid.fields.person import PERSON
from lib_uniid.fields.rows import numbers
from lib_uniid.library.store import Identity, Library
from tests.hosts.webui.asking import FACE, TWO_FACES, ask, person
from tests.hosts.webui.conftest import Start
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import latents
from tests.near import assert_near
from tests.red_faces import red_face_picture


@pytest.fixture
def webui(start: Start) -> WebUI:
    return start("a1111")


def made(webui: WebUI, *people: dict[str, Any], **values: Any) -> torch.Tensor:
    return latents(webui.txt2img(alwayson_scripts=ask(*people, **values)))


def test_a_person_is_the_same_by_name_by_id_and_in_their_pictures(webui: WebUI, webui_models: Path):
    ids = Library(folder=webui_models / "uniid" / "library").ids()
    by_name = made(webui, person("Anna"))
    assert torch.equal(made(webui, {"id": ids["Anna"]}), by_name)
    assert torch.equal(made(webui, {"references": [FACE]}), by_name)
    assert torch.equal(made(webui, {"references": [f"data:image/png;base64,{FACE}"]}), by_name)
    assert not torch.allclose(made(webui, person("Ben")), by_name, atol=1e-3)


def test_several_references_and_a_chosen_face_are_taken(webui: WebUI):
    second = {"picture": TWO_FACES, "face": 2}
    one, two = made(webui, {"references": [FACE]}), made(webui, {"references": [FACE, second]})
    assert not torch.allclose(two, one, atol=1e-4)


def test_references_of_two_people_are_joined_with_a_note(webui: WebUI, monkeypatch: pytest.MonkeyPatch):
    find = FaceFinder.find

    def of_two(self: FaceFinder, picture: np.ndarray) -> tuple[Face, ...]:
        """A picture of two faces shows another person than one of one face."""
        faces = find(self, picture)
        turned = np.roll(np.eye(512, dtype=np.float32)[0], len(faces))
        return tuple(replace(face, embedding=turned) for face in faces)

    monkeypatch.setattr(FaceFinder, "find", of_two)
    second = {"picture": TWO_FACES, "face": 2}
    answer = webui.txt2img(steps=1, alwayson_scripts=ask({"references": [FACE, second]}))
    expected = (
        "people[0].references[1] (similarity 0.00) and people[0].references[0] seem to show different people"
    )
    assert expected in str(answer.result["UniID notes"])


@pytest.mark.parametrize("name", ["Anna=2024", "An\nna", "Anna\u202e"])
def test_a_name_that_no_library_takes_is_refused_for_pictures_that_come_along(webui: WebUI, name: str):
    failed = webui.txt2img(steps=1, alwayson_scripts=ask({"name": name, "references": [FACE]}))
    assert failed.status == 500
    assert failed.error.startswith("UniIDError: people[0]")
    assert "a person's name must not contain" in failed.error


def test_every_field_of_a_person_changes_the_picture(webui: WebUI):
    inside = {row.name: row.low + 0.25 * (row.high - row.low) for row in numbers(PERSON)}
    kinds = [{}, {"mix": [{"name": "Ben", "share": 0.5}]}, *({name: one} for name, one in inside.items())]
    pictures = [made(webui, person("Anna", **kind)) for kind in kinds]
    pictures += [made(webui, person("Anna"), identity_scale=0.2)]
    assert len({picture.numpy().tobytes() for picture in pictures}) == len(pictures)


def test_a_mix_share_of_1_gives_the_other_person(webui: WebUI):
    mixed = made(webui, person("Anna", mix=[{"name": "Ben", "share": 1.0}]))
    assert_near(mixed, made(webui, person("Ben")), within=1e-3)


def test_a_person_who_is_switched_off_is_not_injected(webui: WebUI):
    alone = made(webui, person("Anna"))
    assert torch.equal(made(webui, person("Anna"), person("Ben", enabled=False)), alone)


# --- who is in the picture ---


def shown(webui: WebUI, picture: np.ndarray) -> None:
    """Have the host's decoder make this picture of any latent."""
    pixels = torch.from_numpy(picture).permute(2, 0, 1) / 255.0
    webui.host.pixels = lambda _: pixels


def test_all_people_are_checked_and_the_check_is_under_the_picture_and_in_the_result(webui: WebUI):
    shown(webui, red_face_picture((64, 64)))
    answer = webui.txt2img(n_iter=2, steps=1, alwayson_scripts=ask(person("Anna"), person("Ben"), check=True))
    assert answer.comments == [
        f"UniID: picture {number}: Anna found (similarity 1.00); Ben not found" for number in (1, 2)
    ]
    anna = {"name": "Anna", "face": 1, "similarity": 1.0}
    ben = {"name": "Ben", "face": None, "similarity": None}
    assert json.loads(answer.result["UniID result"]) == [[anna, ben], [anna, ben]]
    assert "similarity" not in "".join(answer.infotexts)
    assert "UniID result" not in webui.txt2img(steps=1).result


def test_an_unchecked_person_of_another_recogniser_has_a_note(webui: WebUI, monkeypatch: pytest.MonkeyPatch):
    find = Library.find

    def of_another(folder: Library, name: str) -> tuple[str, Identity]:
        key, found = find(folder, name)
        return key, replace(found, recogniser="0123456789ab")

    monkeypatch.setattr(Library, "find", of_another)
    answer = webui.txt2img(steps=1, alwayson_scripts=ask(person("Anna"), check=True))
    assert "Anna not checked (enrolled with the face recogniser 0123456789ab" in answer.comments[0]
    assert "not found" not in answer.comments[0]
    (((anna,),),) = (json.loads(answer.result["UniID result"]),)
    assert (anna["face"], anna["similarity"]) == (None, None)
    assert "enrol this person again" in anna["unchecked"]


def test_a_check_that_fails_does_not_take_the_picture_away(webui: WebUI, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr("lib_uniid.evaluation.presence.check", broken)
    answer = webui.txt2img(steps=1, alwayson_scripts=ask(person("Anna"), check=True))
    assert (answer.status, len(answer.images)) == (200, 1)
    (comment,) = answer.comments
    assert comment.startswith(
        "UniID: the picture could not be checked: an unexpected failure: ValueError: broken; please report"
    )


def test_the_pictures_of_a_request_are_few_enough_together_or_none_is_decoded(
    webui: WebUI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lib_uniid.api.identities.MAX_PIXELS", 20_000_000)
    large = base64.b64encode(flat_png(3000, 3000, 1)).decode()
    monkeypatch.setattr(Image, "open", None)
    answer = webui.txt2img(steps=1, alwayson_scripts=ask({"name": "Zoe", "references": [large] * 3}))
    assert "more than 20 megapixels together; give fewer or smaller ones" in answer.error


def test_a_mask_that_covers_the_whole_picture_has_a_note(webui: WebUI):
    white = io.BytesIO()
    Image.new("L", (8, 8), "white").save(white, "PNG")
    everywhere = base64.b64encode(white.getvalue()).decode()
    answer = webui.txt2img(steps=1, alwayson_scripts=ask(person("Anna", mask=everywhere)))
    assert any("the mask covers the whole picture" in comment for comment in answer.comments)
