"""Generations requested by the panel's values, through the real script: as the API's, in every respect."""

from pathlib import Path

import torch

from lib_uniid.ui.form import Form, PersonForm, text_of
from tests.hosts.webui.asking import FACE, ask, person
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import latents
from tests.red_faces import png

ANNA_AND_BEN = Form(
    enabled=True,
    check=False,
    people=(PersonForm(who="Anna", weight=0.8), PersonForm(), PersonForm(who="Ben"), PersonForm()),
)


def with_panel(form: Form) -> dict[str, dict[str, list[object]]]:
    return {"UniID": {"args": form.values()}}


def test_the_panel_and_the_api_make_the_same_picture_and_infotext(webui: WebUI):
    api = webui.txt2img(alwayson_scripts=ask(person("Anna", weight=0.8), person("Ben")))
    panel = webui.txt2img(alwayson_scripts=with_panel(ANNA_AND_BEN))
    assert torch.equal(latents(panel), latents(api))
    assert panel.infotexts == api.infotexts
    again = webui.txt2img(infotext=panel.infotexts[0])
    assert torch.equal(latents(again), latents(panel))


def test_a_person_from_uploaded_pictures_is_injected(webui: WebUI, tmp_path: Path):
    uploads, notes = webui.namespace["controller"].see([png(tmp_path / "face.png", (64, 64))])
    assert notes == []
    form = Form(enabled=True, check=False, people=(PersonForm(uploads=text_of(uploads)), *Form().people[1:]))
    shown = webui.txt2img(alwayson_scripts=with_panel(form))
    assert torch.equal(latents(shown), latents(webui.txt2img(alwayson_scripts=ask({"references": [FACE]}))))


def test_an_enabled_panel_without_people_makes_no_picture(webui: WebUI):
    failed = webui.txt2img(alwayson_scripts=with_panel(Form(enabled=True)))
    assert failed.status == 500
    assert "no person is selected" in failed.error


def test_sending_a_picture_to_img2img_takes_every_control_along(webui: WebUI):
    pairs = webui.sent("txt2img", "img2img")
    assert len(pairs) == len(Form().values())
    plain = [(one.elem_id, one.get_block_name(), one.value) for one, _ in pairs]
    assert plain == [(one.elem_id, one.get_block_name(), one.value) for _, one in pairs]
    assert not any(one is another for one, another in pairs)
