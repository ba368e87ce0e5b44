"""The host's functions that are used beside its hooks."""

import sys
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from lib_uniid.hosts.webui.services import ENCODERS, WebUI
from lib_uniid.hosts.webui.text_encoders import encoder_of


def put(monkeypatch: pytest.MonkeyPatch, name: str, **values: Any) -> None:
    """A module of the host's, and the packages that it is in."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = ModuleType(".".join(parts[:end]))
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(sys.modules[name]).update(values)


@pytest.mark.parametrize(
    "memory",
    ["backend.memory_management", "ldm_patched.modules.model_management"],
    ids=["Forge", "reForge and Classic"],
)
def test_hosts_that_manage_memory_make_room_and_load_patchers(monkeypatch: pytest.MonkeyPatch, memory: str):
    freed: list[object] = []
    loaded: list[str] = []
    put(monkeypatch, "modules_forge")
    put(
        monkeypatch,
        memory,
        get_torch_device=lambda: "cuda:0",
        free_memory=lambda size, device: freed.append((size, device)),  # pyright: ignore[reportUnknownLambdaType]
        soft_empty_cache=lambda: freed.append("given back"),
        load_model_gpu=loaded.append,
    )
    assert WebUI().device() == "cuda:0"
    for _ in range(2):  # each time, and not only at the first
        freed.clear()
        with WebUI().room():
            assert freed == [(ENCODERS, "cuda:0")]
        assert freed == [(ENCODERS, "cuda:0"), "given back"]
    WebUI().load("a patcher")
    assert loaded == ["a patcher"]


def test_automatic1111_takes_its_networks_off_the_device_for_the_face_encoders(
    monkeypatch: pytest.MonkeyPatch,
):
    done: list[str] = []
    put(monkeypatch, "modules.lowvram", send_everything_to_cpu=lambda: done.append("to cpu"))
    put(monkeypatch, "modules.devices", torch_gc=lambda: done.append("freed"))
    monkeypatch.setattr("lib_uniid.hosts.webui.services._memory", lambda: None)

    def fail() -> None:
        with WebUI().room():
            assert done == ["to cpu", "freed"]
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        fail()
    assert done == ["to cpu", "freed", "freed"]


@pytest.mark.parametrize(
    ("title", "file"), [("chosen [01]", "chosen.safetensors"), (None, "first.safetensors"), ("gone", None)]
)
def test_the_first_checkpoint_is_used_until_one_is_selected(
    monkeypatch: pytest.MonkeyPatch, title: str | None, file: str | None
):
    known = {name: SimpleNamespace(filename=f"{name}.safetensors") for name in ("first", "chosen")}
    put(monkeypatch, "modules.shared", opts=SimpleNamespace(sd_model_checkpoint=title))
    put(
        monkeypatch,
        "modules.sd_models",
        checkpoints_list=known,
        get_closet_checkpoint_match=lambda title: known.get(title.split()[0]),  # pyright: ignore[reportUnknownLambdaType]
    )
    assert WebUI().checkpoint() == (None if file is None else Path(file))


def test_of_a_model_with_a_pooled_text_the_states_are_taken(monkeypatch: pytest.MonkeyPatch):
    put(monkeypatch, "modules.devices", autocast=nullcontext)
    states = torch.randn(2, 77, 6, requires_grad=True)
    for found in (states, {"crossattn": states, "vector": torch.zeros(2, 4)}):
        model = SimpleNamespace(get_learned_conditioning=lambda texts, found=found: found)
        taken = encoder_of(SimpleNamespace(sd_model=model), WebUI())(["a", "b"])
        assert torch.equal(taken, states)
        assert not taken.requires_grad
