"""UniID in a genuine host with an SDXL checkpoint: text tokens, two text encoders, 70 attention layers."""

import base64
import io
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.config import GenerationSettings, PersonSettings
from lib_uniid.hosts.diffusers.studio import open_studio
from lib_uniid.library.store import Library
from tests import narrow_uniid
from tests.conftest import enrol_red_faces
from tests.hosts.webui.asking import LEFT, RIGHT
from tests.hosts.webui.genuine import flat_xl
from tests.hosts.webui.genuine.api import SMALL, Answer
from tests.hosts.webui.genuine.beside import REFINER
from tests.hosts.webui.genuine.host import Genuine, Running, booted
from tests.hosts.webui.genuine.people import ask, beside
from tests.hosts.webui.genuine.pictures import apart, encoded, same
from tests.hosts.webui.genuine.test_infotext import READ_BACK
from tests.near import assert_near
from tests.red_faces import red_face_picture

ANNA = ask({"name": "Anna"})
DRAWN = ask({"name": "Anna", "mask": LEFT}, {"name": "Ben", "mask": RIGHT}, routing="mask")
PEOPLE = {"one person": ANNA, "two in masks": DRAWN}
NEGATIVE = "ugly"
"""An empty one is zeros in some hosts."""


@pytest.fixture(scope="module")
def xl(named: Genuine, tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    """The host with models for SDXL."""
    models = tmp_path_factory.mktemp("xl") / "models"
    if named.kind == "a1111":
        narrow_uniid.write_models(models)
    else:
        flat_xl.write_flat_models(models)
    enrol_red_faces(models)
    for checkpoint in [*(models / "Stable-diffusion").glob("*.safetensors")]:
        for path in [*checkpoint.parent.glob(f"{checkpoint.stem}.*")]:
            path.with_stem(REFINER).symlink_to(path.name)
    return replace(named, models=models)


@pytest.fixture(scope="module")
def webui(
    xl: Genuine, tmp_path_factory: pytest.TempPathFactory, tell: Callable[[str], None]
) -> Generator[Running]:
    with booted(xl, tmp_path_factory.mktemp("with")) as running:
        yield running
        assert "UniID failed" not in running.log.read_text(encoding="utf-8")


class Reference:
    """The stand-alone host with the same models."""

    def __init__(self, models: Path) -> None:
        self.studio = open_studio(models, device="cpu")
        self.library = Library(folder=models / "uniid" / "library")

    def plan(self, *people: PersonSettings, routing: Any = "auto") -> Plan:
        settings = GenerationSettings(
            prompt=SMALL["prompt"],
            width=SMALL["width"],
            height=SMALL["height"],
            people=people,
            routing=routing,
        )
        plan = self.studio.plan(settings, {one.name: self.library.load(one.name) for one in people})
        assert plan is not None
        return plan

    def call(self, plan: Plan | None, roles: tuple[Role, ...], call: dict[str, Tensor]) -> Tensor:
        unet: Any = self.studio.host.unet
        width = unet.add_embedding.linear_1.in_features - 6 * unet.config.addition_time_embed_dim
        side = torch.tensor([SMALL["height"], SMALL["width"], 0, 0, SMALL["height"], SMALL["width"]])
        added = {
            "text_embeds": call["y"][:, :width],
            "time_ids": side.float().expand(len(roles), -1),
        }
        given = call["x"], call["timesteps"], call["context"]
        with torch.no_grad(), injected(find_sites(unet), plan, Rows(roles)):
            return unet(*given, added_cond_kwargs=added, return_dict=False)[0]


@pytest.fixture(scope="module")
def reference(xl: Genuine) -> Reference:
    return Reference(xl.models)


def recorded(webui: Running, scripts: dict[str, Any] | None = None) -> dict[str, Tensor]:
    """The first call of the UNet; its text is what the UNet reads, after all changes."""
    answer = webui.api.txt2img(
        negative_prompt=NEGATIVE, steps=1, alwayson_scripts=beside(scripts, record=True)
    )
    assert answer.status == 200, answer.body
    return {name: _array(text) for name, text in webui.api.get("/uniid-probe/call").body.items()}


def roles_of(webui: Running) -> tuple[Role, ...]:
    return (Role.UNCOND, Role.COND) if webui.patches else (Role.COND, Role.UNCOND)


def settings_of(name: str) -> tuple[tuple[PersonSettings, ...], str]:
    if name == "one person":
        return (PersonSettings(name="Anna"),), "auto"
    left = np.repeat(np.array([[1.0, 0.0]], dtype=np.float32), 2, axis=0)
    return (PersonSettings(name="Anna", mask=left), PersonSettings(name="Ben", mask=1.0 - left)), "mask"


@pytest.mark.parametrize("name", list(PEOPLE))
def test_one_call_of_the_unet(webui: Running, reference: Reference, tell: Callable[[str], None], name: str):
    before, call, roles = recorded(webui), recorded(webui, PEOPLE[name]), roles_of(webui)
    assert torch.equal(before["x"], call["x"])
    assert len(call["x"]) == 2
    people, routing = settings_of(name)
    plan = reference.plan(*people, routing=routing)
    original = {**call, "context": before["context"]}
    plain, expected = (reference.call(one, roles, original) for one in (None, plan))
    assert_near(before["out"], plain, within=1e-4)
    furthest, moved = (float((call["out"] - one).abs().max()) for one in (expected, plain))
    tell(f"{name}: {furthest:.1e} from the stand-alone host, {moved:.1e} from the plain picture")
    assert moved > 1e-3
    assert_near(call["out"], expected, within=1e-4)


@pytest.mark.parametrize("name", list(PEOPLE))
def test_text_tokens_are_those_of_the_stand_alone_host_and_in_the_cond_rows_only(
    webui: Running, reference: Reference, tell: Callable[[str], None], name: str
):
    before, after = (recorded(webui, one)["context"] for one in (None, PEOPLE[name]))
    people, routing = settings_of(name)
    plan, rows = reference.plan(*people, routing=routing), Rows(roles_of(webui))
    (change,) = plan.context
    expected = change.prepare(change.state(0.0), before, rows)(before, rows)
    cond = rows.roles.index(Role.COND)
    tell(f"text tokens of {name}: {float((after - expected).abs().max()):.1e} from the stand-alone host")
    assert_near(after, expected, within=1e-4 * float(expected.abs().max()))
    assert torch.equal(after[1 - cond], before[1 - cond])
    tokens = narrow_uniid.TOKENS * len(people)
    assert torch.equal(after[cond, 1 + tokens :], before[cond, 1:-tokens])
    assert not torch.allclose(after[cond], before[cond], atol=1e-3)


def test_a_plain_picture_after_people_is_the_same_file_as_before(webui: Running):
    before, model = webui.api.txt2img().images, webui.api.get("/uniid-probe/model").body
    people = webui.api.txt2img(alwayson_scripts=DRAWN)
    assert people.images != before
    assert webui.api.txt2img(alwayson_scripts=DRAWN).images == people.images
    assert webui.api.txt2img().images == before
    assert webui.api.get("/uniid-probe/model").body == model
    off = ask({"name": "Anna"}, enabled=False)
    assert webui.api.txt2img(alwayson_scripts=off).images == before


VARIANTS: dict[str, dict[str, Any]] = {
    "two in a batch": {"batch_size": 2},
    "guidance of one": {"cfg_scale": 1.0},
    "two prompts": {"prompt": "two friends AND a winter market :0.5"},
    "a prompt with BREAK": {"prompt": "two friends BREAK a winter market"},
    "a prompt that changes": {"prompt": "two [friends:dogs:0.5] at (a market:1.3)"},
    "a long prompt": {"prompt": "two friends, " + "snow, " * 90},
    "a long negative prompt": {"negative_prompt": "rain, " * 90},
    "another size": {"width": 192},
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_it_works_with(webui: Running, name: str):
    check(webui, lambda **more: webui.api.txt2img(**VARIANTS[name], **more))


def test_hires(webui: Running):
    check(webui, lambda **more: webui.api.txt2img(**webui.hires(1.5), **more))


def test_img2img(webui: Running):
    start = {"init_images": [encoded(red_face_picture((64, 64)))], "denoising_strength": 0.7}
    plain = webui.api.img2img(**start)
    people = webui.api.img2img(**start, alwayson_scripts=ANNA)
    assert people.images != plain.images
    assert apart(webui.api.img2img(**start).images[0], plain.images[0]) == 0


def check(webui: Running, make: Callable[..., Answer]) -> None:
    plain, people = make(), make(alwayson_scripts=DRAWN)
    assert people.status == 200, people.body
    assert len(people.images) == len(plain.images)
    assert not set(people.images) & set(plain.images)
    assert make().images == plain.images


def test_an_infotext_sent_back_makes_the_same_file(webui: Running):
    asked = ask({"name": "Anna", "weight": 0.8}, branches="both", text_after=1.2)
    first = webui.api.txt2img(alwayson_scripts=asked)
    again = webui.api.post("/sdapi/v1/txt2img", {**READ_BACK, "infotext": first.infotext})
    assert '"text_after":1.2' in first.infotext.replace("\\", "")
    assert again.images == first.images
    assert again.infotext == first.infotext


def test_a_refiner_with_the_same_weights_makes_the_same_picture(webui: Running):
    refined: dict[str, Any] = {"refiner_checkpoint": REFINER, "refiner_switch_at": 0.5}
    webui.api.txt2img(
        **refined
    )  # A1111 rounds in another way after the first time that it loads a model again
    plain = webui.api.txt2img()
    before = webui.api.get("/uniid-probe/model").body
    people = webui.api.txt2img(alwayson_scripts=ANNA)
    through = webui.api.txt2img(**refined, alwayson_scripts=ANNA)
    assert "Refiner" in through.infotext
    assert same(through, people)
    assert same(webui.api.txt2img(**refined), plain)
    assert webui.api.txt2img().images == plain.images
    assert webui.api.get("/uniid-probe/model").body == before


def test_a_request_for_the_other_method_is_refused(webui: Running):
    answer = webui.api.txt2img(alwayson_scripts=ask({"name": "Anna"}, method="UniPortrait"))
    assert answer.status == 500
    assert "the method UniPortrait works with Stable Diffusion 1.5, and the base model is SDXL" in str(
        answer.body
    )


def _array(text: str) -> Tensor:
    return torch.from_numpy(np.load(io.BytesIO(base64.b64decode(text))))
