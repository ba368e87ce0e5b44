"""Enrolment from uploaded pictures, with the real networks of a models folder."""

import base64
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_uniid.api.identities import find_identities
from lib_uniid.api.request import parse, to_dict
from lib_uniid.errors import ConfigError, DifferentPeopleError, NoFaceError
from lib_uniid.faces.detection import Face, FaceFinder
from lib_uniid.identity_pipeline import IdentityPipeline
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form import Form, PersonForm, Upload, text_of
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.html import picked
from lib_uniid.ui.tiles import tile
from tests.red_faces import png, red_face_picture
from tests.ui.bare_host import controller_of


@pytest.fixture
def controller(webui_models: Path, tmp_path: Path) -> PanelController:
    """In front of a models folder of this test's own."""
    root = tmp_path / "models"
    shutil.copytree(webui_models, root)
    return controller_of(root)


def uploaded(controller: PanelController, *files: Path) -> list[Upload]:
    return controller.see(files)[0]


def test_a_person_is_enrolled_with_the_clicked_face(controller: PanelController, tmp_path: Path):
    both = uploaded(controller, png(tmp_path / "both.png", (64, 64), (190, 60)))
    with pytest.raises(ConfigError, match=r"both\.png shows 2 faces; click the face of this person"):
        list(controller.enrol("Zoe", both))
    assert controller.names() == ["Anna", "Ben"]
    first, *_, last = controller.enrol("Zoe", picked(both, 0, 2))
    assert (first.step, last.step == last.steps) == (0, True)
    assert all(one.startswith("both.png: ") or "looks like Zoe" in one for one in last.advice)
    assert controller.names() == ["Anna", "Ben", "Zoe"]
    assert controller.library.load("Zoe").references == 1


@pytest.mark.parametrize("add", [False, True])
def test_a_plugin_that_fails_at_the_enrolment_is_named_in_the_advice(
    controller: PanelController, tmp_path: Path, failing_at: Callable[[str], str], add: bool
):
    sentence, pictures = failing_at("identity_saved"), uploaded(controller, png(tmp_path / "a.png", (64, 64)))
    *_, last = controller.enrol("Anna" if add else "Zoe", pictures, add=add)
    assert any(one.startswith(sentence) for one in last.advice)


def test_a_taken_name_changes_no_person_unless_pictures_are_added(
    controller: PanelController, tmp_path: Path
):
    pictures = uploaded(controller, png(tmp_path / "a.png", (64, 64)), png(tmp_path / "b.png", (60, 64)))
    before = controller.library.load("Anna")
    with pytest.raises(ConfigError, match="library already has a person named 'Anna'"):
        list(controller.enrol("Anna", pictures))
    assert np.array_equal(controller.library.load("Anna").embedding, before.embedding)
    list(controller.enrol("Anna", pictures, add=True))
    assert controller.library.load("Anna").references == 3
    with pytest.raises(ConfigError, match="no person named 'Zoe' is in the library"):
        list(controller.enrol("Zoe", pictures, add=True))


def test_pictures_without_a_face_enrol_no_person(controller: PanelController, tmp_path: Path):
    with pytest.raises(NoFaceError, match=r"empty\.png: "):
        list(controller.enrol("Zoe", uploaded(controller, png(tmp_path / "empty.png"))))
    with pytest.raises(ConfigError, match="no pictures of this person are uploaded"):
        list(controller.enrol("Zoe", []))
    assert controller.names() == ["Anna", "Ben"]


def test_a_deleted_person_leaves_no_encoding_and_can_be_restored(controller: PanelController, tmp_path: Path):
    cache = controller.runtime.models_folder / "uniid" / "cache"
    before = {*cache.glob("*.features.safetensors")}
    list(controller.enrol("Zoe", uploaded(controller, png(tmp_path / "zoe.png", (70, 60)))))
    zoe = controller.library.load("Zoe")
    assert len({*cache.glob("*.features.safetensors")} - before) == 1
    removed = controller.delete("Zoe")
    assert {*cache.glob("*.features.safetensors")} <= before
    controller.library.restore(removed.id)
    (enrolled,), (after,) = zoe.features.values(), controller.library.load("Zoe").features.values()
    assert torch.equal(enrolled["intrinsic"], after["intrinsic"])


@pytest.mark.parametrize("name", ["", "x" * 201, "0a1b2c3d-0000-4000-8000-00000000000a", "pictures-0a1b"])
def test_no_person_is_enrolled_under_an_invalid_name(controller: PanelController, tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match="a person's name must"):
        list(controller.enrol(name, uploaded(controller, png(tmp_path / "a.png", (64, 64)))))
    assert controller.names() == ["Anna", "Ben"]


def test_a_deleted_person_leaves_no_upload_and_no_crop(
    controller: PanelController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gradio = tmp_path / "gradio"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(gradio))
    (gradio / "0a1b").mkdir(parents=True)
    own = png(tmp_path / "own.png", (72, 60))  # a user's own file, as a script may name one
    zoe = png(gradio / "0a1b" / "zoe.png", (70, 60))
    uploads = uploaded(controller, zoe, own)
    crops = [controller.uploads.get(one.key).faces[0] for one in uploads]
    shown = Path(tile(crops[0], chosen=True))
    copied = gradio / "2c3d" / shown.name  # as gradio does with what it shows
    copied.parent.mkdir()
    shutil.copy2(shown, copied)
    assert stat.S_IMODE(copied.stat().st_mode) == 0o600
    assert stat.S_IMODE(shown.parent.stat().st_mode) == 0o700
    list(controller.enrol("Zoe", uploads[:1]))
    controller.delete("Zoe")
    assert [zoe.exists(), shown.exists(), copied.exists(), own.exists()] == [False, False, False, True]
    with pytest.raises(ConfigError, match="no longer kept"):
        controller.uploads.get(uploads[0].key)


def test_a_damaged_person_is_deleted_with_all_uploads(controller: PanelController, tmp_path: Path):
    (upload,) = uploaded(controller, png(tmp_path / "a.png", (64, 64)))
    path = controller.library.folder / f"{controller.library.ids()['Anna']}.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"references":"1"', b'"references":"x"'))
    controller.delete("Anna")
    assert controller.names() == ["Ben"]
    with pytest.raises(ConfigError, match="no longer kept"):
        controller.uploads.get(upload.key)


def test_faces_are_detected_once_per_picture_in_uploads_and_enrolment(
    controller: PanelController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    looked: list[tuple[int, ...]] = []
    find = FaceFinder.find

    def counted(self: FaceFinder, picture: np.ndarray) -> tuple[Face, ...]:
        looked.append(picture.shape)
        return find(self, picture)

    monkeypatch.setattr(FaceFinder, "find", counted)
    for name in ("a.png", "again.png"):
        uploads = uploaded(controller, png(tmp_path / name, (64, 64)))
    list(controller.enrol("Zoe", uploads))
    assert len(looked) == 1
    uploaded(controller, png(tmp_path / "other.png", (60, 64)))
    assert len(looked) == 2


def test_a_generation_takes_the_faces_that_the_panel_found_and_decodes_nothing(
    controller: PanelController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = png(tmp_path / "a.png", (64, 64))
    uploads = text_of(uploaded(controller, file))
    form = Form(enabled=True, people=(PersonForm(who="Zoe", uploads=uploads), *Form().people[1:]))
    panel = request_of(form.values(), controller.uploads)
    assert panel is not None
    assert panel.people[0].references[0].picture == file.read_bytes()
    api = parse(to_dict(panel))
    assert api.people[0].references[0].picture == base64.b64encode(file.read_bytes()).decode()
    monkeypatch.setattr(FaceFinder, "find", lambda *_: pytest.fail("looked at twice"))
    monkeypatch.setattr("lib_uniid.api.identities.load_picture", lambda *_: pytest.fail("decoded twice"))
    for request in (panel, api):
        found = find_identities(request, IdentityPipeline(controller.runtime), controller.library)
        assert found.people["Zoe"].references == 1


def test_a_face_belongs_to_a_person_once_the_person_is_in_the_library(
    controller: PanelController, tmp_path: Path
):
    one = uploaded(controller, png(tmp_path / "one.png", (64, 64)))
    with pytest.raises(ConfigError):
        list(controller.enrol("x" * 201, one))
    with pytest.raises(ConfigError):
        list(controller.enrol("Anna", one))
    assert controller.face_of("Anna", "") is None
    list(controller.enrol(" Zoe ", one))
    assert controller.face_of("Zoe", "") is not None


def test_a_face_follows_a_person_who_is_renamed_and_goes_with_one_who_is_deleted(
    controller: PanelController, tmp_path: Path
):
    list(controller.enrol("Zoe", uploaded(controller, png(tmp_path / "one.png", (64, 64)))))
    controller.library.rename("Zoe", "Zora")
    assert controller.face_of("Zora", "") is not None
    assert controller.face_of("Zoe", "") is None
    controller.library.remove("Zora")  # by another program
    assert controller.face_of("Zora", "") is None
    list(controller.enrol("Zoe", uploaded(controller, png(tmp_path / "two.png", (70, 60)))))
    deleted = controller.delete("Zoe")
    controller.library.restore(deleted.id)
    assert controller.face_of("Zoe", "") is None


def test_pictures_of_two_people_are_joined_only_when_it_is_confirmed(
    controller: PanelController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    find = FaceFinder.find

    def of_two(self: FaceFinder, picture: np.ndarray) -> tuple[Face, ...]:
        """The face in the dark picture is another person's."""
        faces = find(self, picture)
        turned = np.roll(np.eye(512, dtype=np.float32)[0], int(picture[0, 0, 0] < 100))
        return tuple(replace(face, embedding=turned) for face in faces)

    monkeypatch.setattr(FaceFinder, "find", of_two)
    dark = red_face_picture((64, 64))
    dark[dark == 128] = 90
    Image.fromarray(dark).save(tmp_path / "ben.png")
    pictures = uploaded(controller, png(tmp_path / "zoe.png", (64, 64)), tmp_path / "ben.png")
    with pytest.raises(DifferentPeopleError, match=r"ben\.png \(similarity 0\.00\) and zoe\.png"):
        list(controller.enrol("Zoe", pictures))
    assert controller.names() == ["Anna", "Ben"]
    list(controller.enrol("Zoe", pictures, force=True))
    assert controller.library.load("Zoe").references == 2
    list(controller.enrol("Mia", pictures[:1]))
    with pytest.raises(DifferentPeopleError, match=r"do not seem to show Mia \(similarity 0\.00"):
        list(controller.enrol("Mia", pictures[1:], add=True))
    assert controller.library.load("Mia").references == 1


def test_a_picture_that_is_given_twice_is_named(controller: PanelController, tmp_path: Path):
    pictures = uploaded(controller, png(tmp_path / "a.png", (64, 64)), png(tmp_path / "b.png", (64, 64)))
    *_, last = controller.enrol("Zoe", pictures)
    assert "b.png is a duplicate of a.png; use another picture" in last.advice
