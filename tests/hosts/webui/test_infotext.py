"""The infotext makes the same picture again, and has no names and no pixels of the people."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_uniid.library.store import Library
from lib_uniid.pipeline import IdentityPipeline, Reference
from tests.hosts.webui.asking import FACE, LEFT, ask, base64_of, person
from tests.hosts.webui.standin.processing import parse_infotext
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import latents
from tests.red_faces import red_face_picture

FULL = ask(
    person("Anna", weight=0.8, structure_scale=0.5, mix=[{"name": "Ben", "share": 0.25}], end=0.75),
    person("Ben", start=0.25),
    routing="off",
    identity_scale=0.9,
)


def test_a_picture_is_made_again_from_its_own_infotext(webui: WebUI):
    answer = webui.txt2img(steps=4, alwayson_scripts=FULL)
    again = webui.txt2img(steps=4, infotext=answer.infotexts[0])
    assert torch.equal(latents(again), latents(answer))
    assert again.infotexts == answer.infotexts


def test_the_infotext_holds_ids_and_fingerprints_but_no_names_and_no_pixels(webui: WebUI, webui_models: Path):
    ids = Library(folder=webui_models / "uniid" / "library").ids()
    answer = webui.txt2img(alwayson_scripts=ask(person("Anna", mask=LEFT), {"references": [FACE]}))
    text = answer.infotexts[0]
    written = json.loads(parse_infotext(text)["UniID"])
    anna, shown = written["people"]
    assert anna["id"] == ids["Anna"]
    assert anna["mask"].startswith("sha256:")
    assert len(anna["fingerprint"]) == 12
    assert shown == {"id": f"pictures-{shown['fingerprint']}", "fingerprint": shown["fingerprint"]}
    assert "Anna" not in text
    assert FACE[:40] not in text
    assert LEFT[:40] not in text


def test_a_region_is_in_the_infotext_and_makes_the_picture_of_its_mask(webui: WebUI):
    people = [person("Anna", region="left half"), person("Ben", region="right half")]
    answer = webui.txt2img(alwayson_scripts=ask(*people, routing="mask"))
    written = json.loads(parse_infotext(answer.infotexts[0])["UniID"])
    assert [one["region"] for one in written["people"]] == ["left half", "right half"]
    again = webui.txt2img(infotext=answer.infotexts[0])
    assert torch.equal(latents(again), latents(answer))
    left = np.zeros((384, 384), dtype=np.uint8)
    left[:, :192] = 255
    masks = [person("Anna", mask=base64_of(left)), person("Ben", mask=base64_of(255 - left))]
    drawn = webui.txt2img(alwayson_scripts=ask(*masks, routing="mask"))
    assert torch.equal(latents(drawn), latents(answer))


def test_the_pictures_of_a_plain_generation_have_no_entries_of_uniid(webui: WebUI):
    webui.txt2img(alwayson_scripts=FULL)
    assert "UniID" not in webui.txt2img().infotexts[0]


def test_an_infotext_of_a_person_who_is_not_enrolled_needs_the_references_again(webui: WebUI):
    text = webui.txt2img(alwayson_scripts=ask({"references": [FACE]})).infotexts[0]
    failed = webui.txt2img(infotext=text)
    assert failed.status == 500
    assert "people[0].id: 'pictures-" in failed.error
    assert "give them as references again" in failed.error


@pytest.fixture
def own_library(webui: WebUI, webui_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """The library of a models folder of this test's own."""
    root = tmp_path / "models"
    shutil.copytree(webui_models, root)
    monkeypatch.setattr(webui.namespace["runtime"], "models_folder", root)
    return Library(folder=root / "uniid" / "library")


def test_a_deleted_person_is_named_by_the_id(webui: WebUI, own_library: Library):
    text = webui.txt2img(alwayson_scripts=ask(person("Anna"))).infotexts[0]
    path = own_library.folder / f"{own_library.ids()['Anna']}.safetensors"
    path.unlink()
    failed = webui.txt2img(infotext=text)
    assert failed.status == 500
    assert f"people[0].id: no person with the id '{path.stem}' is enrolled" in failed.error


def test_a_re_enrolled_person_has_a_note(webui: WebUI, own_library: Library):
    answer = webui.txt2img(alwayson_scripts=ask(person("Anna")))
    other = red_face_picture((64, 64))
    other[40:60, 40:60] = (255, 60, 60)
    enrolled, _ = IdentityPipeline(webui.namespace["runtime"]).enrol(
        "Anna", [Reference(picture=other, label="other", largest=True)]
    )
    own_library.save(enrolled, replace=True)
    again = webui.txt2img(infotext=answer.infotexts[0])
    assert again.comments == [
        "UniID: Anna was re-enrolled since this picture was made; the result may differ"
    ]
    assert not torch.equal(latents(again), latents(answer))
