"""A request that cannot be fulfilled fails; it never gives a picture without the people."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.logs import log_file
from lib_uniid.methods.uniportrait.method import UniPortrait
from tests.hosts.webui.asking import BLACK, FACE, NO_FACE, TWO_FACES, ask, person
from tests.hosts.webui.conftest import Start
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import Traceless, any_host, hooks, latents


def shown(*references: Any, **values: Any) -> dict[str, Any]:
    return {"references": list(references), **values}


WRONG: dict[str, Callable[[], Any]] = {
    "the request must be an object, got null": lambda: {"UniID": {"args": [None]}},
    "the request must be an object, got 5": lambda: {"uniid": {"args": [5]}},
    "people[0].weight must be a number from 0 to 2, got null": lambda: ask(person(weight=None)),
    "people[0].name: no person named 'Eve' is enrolled (Anna, Ben)": lambda: ask(person("Eve")),
    "people[0].id: no person with the id '../Anna' is enrolled": lambda: ask({"id": "../Anna"}),
    "people[1] is in the request twice": lambda: ask(person(), person()),
    "people[0].mix[0].name: no person named 'Eve'": lambda: ask(person(mix=[{"name": "Eve", "share": 0.5}])),
    "people[0].references[0].picture must be a picture in base64, got 'a face'": lambda: ask(shown("a face")),
    "people[0].references[0].picture is not a picture": lambda: ask(shown("aGVsbG8=")),
    "people[0].references[1]: no face was found": lambda: ask(shown(FACE, NO_FACE)),
    "people[0].references[0]: 2 faces were found": lambda: ask(shown(TWO_FACES)),
    "people[0].references[0]: there is no face number 3": lambda: ask(
        shown({"picture": TWO_FACES, "face": 3})
    ),
    "people[0].mask: an infotext has only the digest": lambda: ask(person(mask="sha256:0123456789ab")),
    "people[0].mask must be a picture in base64": lambda: ask(person(mask="the left")),
    "people[0]: Anna: mask is empty": lambda: ask(person(mask=BLACK)),
    "people[0].id: 'pictures-0123' is of pictures": lambda: ask({"id": "pictures-0123"}),
    "people[1] has the name 'Anna'": lambda: ask(person(), shown(TWO_LARGEST, name="Anna")),
}
TWO_LARGEST = {"picture": TWO_FACES, "face": 2}


@pytest.mark.parametrize("message", WRONG)
def test_a_request_that_is_wrong_fails_with_the_name_of_the_field(start: Start, message: str):
    webui = start("a1111")
    failed = webui.txt2img(alwayson_scripts=WRONG[message]())
    assert (failed.status, failed.images) == (500, [])
    assert failed.error.startswith(f"UniIDError: {message}")
    assert hooks(any_host(webui).unet) == 0


def test_the_request_after_a_wrong_one_is_as_before(webui: WebUI):
    plain = Traceless(webui)
    for wrong in (ask(person(weight=-1)), ask(person("Eve"))):
        assert webui.txt2img(alwayson_scripts=wrong).status == 500
    plain.check()
    assert webui.txt2img(alwayson_scripts=ask(person())).status == 200


def test_a_wrong_request_does_not_have_the_networks_loaded_again(
    webui: WebUI, monkeypatch: pytest.MonkeyPatch
):
    read, really_open = list[Path](), UniPortrait.open

    def opened(folder: ModelFolder, notify: Callable[[str], None]) -> UniPortrait:
        read.append(folder.find("faceid"))
        return really_open(folder, notify)

    monkeypatch.setattr(UniPortrait, "open", opened)
    for asked in (person(), person("Eve"), shown(NO_FACE), shown(TWO_FACES), person(mask="the left")):
        webui.txt2img(alwayson_scripts=ask(asked))
    assert webui.txt2img(alwayson_scripts=ask(person())).status == 200
    assert len(read) == 1


def test_an_unexpected_exception_fails_the_request_too(webui: WebUI, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr("lib_uniid.hosts.webui.infotext.write", broken)
    failed = webui.txt2img(alwayson_scripts=ask(person()))
    assert failed.status == 500
    assert failed.error.startswith("UniIDError: an unexpected failure: KeyError: 'x'; please report it with")
    assert str(log_file()) in failed.error
    assert "in broken" in log_file().read_text(encoding="utf-8")


FORESEEN: dict[str, tuple[BaseException, str]] = {
    "memory": (torch.OutOfMemoryError("CUDA out of memory"), "lower the width and height"),
    "disk": (OSError(28, "No space left on device", "/x/cache"), "the disk is full, /x/cache"),
    "package": (ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"), "is not installed"),
}


@pytest.mark.parametrize("kind", FORESEEN)
def test_a_foreseeable_failure_is_one_sentence_and_nothing_stays_injected(
    webui: WebUI, monkeypatch: pytest.MonkeyPatch, kind: str
):
    plain, runtime = Traceless(webui), webui.namespace["runtime"]
    models = runtime.models
    error, said = FORESEEN[kind]

    def broken(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("lib_uniid.identity_pipeline.IdentityPipeline.plan_for", broken)
        failed = webui.txt2img(alwayson_scripts=ask(person()))
    assert failed.status == 500
    assert said in failed.error
    assert not log_file().exists()
    assert runtime.models is not models  # files may have come
    plain.check()
    assert webui.txt2img(alwayson_scripts=ask(person())).status == 200


def test_a_generation_that_fails_in_the_host_leaves_nothing_injected_after_it_is_deleted(webui: WebUI):
    plain = Traceless(webui)

    def exhausted(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = any_host(webui).unet.register_forward_hook(exhausted)
    failed = webui.txt2img(alwayson_scripts=ask(person()))
    hook.remove()
    assert failed.status == 500
    gc.collect()
    assert webui.namespace["extension"].injector._attached is None
    assert hooks(any_host(webui).unet) == 0
    plain.check()


def test_a_missing_model_file_is_named_and_found_after_it_is_added(
    webui: WebUI, webui_models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "uniid").mkdir()
    (tmp_path / "uniid" / "library").symlink_to(webui_models / "uniid" / "library")
    monkeypatch.setattr(webui.namespace["runtime"], "models_folder", tmp_path)
    failed = webui.txt2img(alwayson_scripts=ask(person()))
    assert failed.status == 500
    assert "no faceid model under" in failed.error
    for path in webui_models.iterdir():
        if path.name != "uniid":
            (tmp_path / path.name).symlink_to(path)
    for path in (webui_models / "uniid").iterdir():
        if path.name != "library":
            (tmp_path / "uniid" / path.name).symlink_to(path)
    assert webui.txt2img(alwayson_scripts=ask(person())).status == 200


def test_what_fails_in_the_middle_of_sampling_fails_as_visibly(webui: WebUI, monkeypatch: pytest.MonkeyPatch):
    plain = Traceless(webui)

    def broken(params: Any) -> float:
        if params.denoiser.step == 1:
            raise ValueError("no progress")
        return 0.0

    for module in ("a1111", "forge"):
        monkeypatch.setattr(f"lib_uniid.hosts.webui.{module}.progress_of", broken)
    failed = webui.txt2img(steps=3, alwayson_scripts=ask(person()))
    assert failed.status == 500
    assert "ValueError: no progress" in failed.error
    assert "UniIDError" in failed.error
    plain.check()


NAN, NOTHING = float("nan"), 0.0


def holed(value: float, hole: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A decoder whose pictures have one value everywhere but at one place."""

    def decode(_: torch.Tensor) -> torch.Tensor:
        pixels = torch.full((3, 64, 64), value)
        pixels[1, 5, 5] = hole
        return pixels

    return decode


@pytest.mark.parametrize(
    ("decode", "said"),
    [
        (holed(0.5, NAN), "the pixels of the decoded picture are not finite numbers"),
        (holed(NOTHING, NOTHING), "the decoded picture is black from edge to edge"),
    ],
)
def test_a_picture_that_the_decoder_makes_not_finite_fails_with_a_remedy(
    webui: WebUI, decode: Callable[[torch.Tensor], torch.Tensor], said: str
):
    webui.host.pixels = decode
    failed = webui.txt2img(alwayson_scripts=ask(person()))
    assert webui.raised == []
    assert failed.status == 500
    assert said in failed.error
    assert "--no-half-vae" in failed.error
    assert webui.txt2img().status == 200  # a plain picture is the host's own matter


def test_latents_that_are_no_numbers_fail_with_a_remedy(webui: WebUI):
    plain, unet = Traceless(webui), any_host(webui).unet

    def spoil(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[0, 0, 3, 3] = NAN
        return output

    hook = unet.register_forward_hook(spoil)
    failed = webui.txt2img(alwayson_scripts=ask(person()))
    hook.remove()
    assert failed.status == 500
    assert "the latents are not finite numbers (NaN); half precision is the likely cause" in failed.error
    assert webui.raised == []
    plain.check()


# --- unless it is allowed ---


def test_a_picture_without_the_people_is_made_where_the_request_allows_it(webui: WebUI):
    plain = webui.txt2img()
    answer = webui.txt2img(alwayson_scripts=ask(person("Eve"), fallback="plain", check=True))
    assert torch.equal(latents(answer), latents(plain))
    assert answer.comments[0].startswith(
        "UniID: Identities not applied: people[0].name: no person named 'Eve'"
    )
    assert json.loads(answer.result["UniID notes"]) == [answer.comments[0].removeprefix("UniID: ")]
    assert answer.infotexts == plain.infotexts


def test_another_family_of_checkpoints_is_let_pass_where_the_request_allows_it(
    start: Start, other_unet: nn.Module
):
    webui = start("forge", other_unet)
    answer = webui.txt2img(alwayson_scripts=ask(person(), fallback="plain"))
    assert torch.equal(latents(answer), latents(webui.txt2img()))
    assert "load the checkpoint family that" in answer.comments[0]
    assert "UniID" not in answer.infotexts[0]


def test_a_request_that_cannot_be_read_is_never_let_pass(webui: WebUI):
    assert webui.txt2img(alwayson_scripts=ask(person(weight="1"), fallback="plain")).status == 500
