"""The text encoders of a host's checkpoint give what the stand-alone host's give, and are known again."""

import copy
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_uniid.attention.text_encoders import TextEncoders
from lib_uniid.bases import SDXL
from lib_uniid.hosts.diffusers.text_encoders import DiffusersTextEncoders
from lib_uniid.hosts.webui.services import WebUI as Services
from lib_uniid.hosts.webui.text_encoders import text_encoders_of
from lib_uniid.methods.uniid.text_tokens import mean_name
from tests import narrow_xl
from tests.attention.builders import hook_count
from tests.hosts.webui.conftest import KINDS, Start
from tests.hosts.webui.standin.texts import Table
from tests.hosts.webui.standin.unets import xl_unet
from tests.near import assert_near
from tests.standalone import needs_standalone_host

pytestmark = needs_standalone_host


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest, start: Start) -> Any:
    return loaded(start, request.param)


def loaded(start: Start, kind: str) -> Any:
    host: Any = start(kind, xl_unet(), xl=True).host
    host.load_model()
    return host


def encoders_of(host: Any) -> TextEncoders:
    found = text_encoders_of(SimpleNamespace(sd_model=host.sd_model), Services())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def reference() -> DiffusersTextEncoders:
    models = (narrow_xl.narrow_text_model(), narrow_xl.narrow_text_model_2())
    return DiffusersTextEncoders(models, SDXL.text_encoders)


@pytest.mark.parametrize("number", [0, 1])
def test_states_are_those_of_the_stand_alone_host(host: Any, reference: DiffusersTextEncoders, number: int):
    own = encoders_of(host)
    assert torch.equal(own.table(number), reference.table(number))
    means = mean_name(reference.table(number))
    states = own.penultimate(number, means)
    assert_near(states, reference.penultimate(number, means))
    assert not states.is_inference()
    assert all(hook_count(table) == 0 for table in host.texts.modules() if isinstance(table, Table))


def test_the_prompt_is_encoded_as_before_afterwards(host: Any):
    before = host.texts.conditioning(["a park"])["crossattn"]
    own = encoders_of(host)
    with pytest.raises(RuntimeError):
        own.penultimate(1, torch.zeros(3, 5))
    own.penultimate(0, torch.ones(3, narrow_xl.TEXT_WIDTH))
    assert torch.equal(host.texts.conditioning(["a park"])["crossattn"], before)


def test_the_key_is_the_same_for_the_same_weights(host: Any):
    assert encoders_of(host).key == encoders_of(host).key
    assert len({encoders_of(host).key, encoders_of(host).key}) == 1


def test_the_key_changes_with_the_checkpoint(host: Any):
    before = encoders_of(host).key
    if hasattr(host, "load_checkpoint"):  # into the same modules
        host.load_checkpoint(host.unet.state_dict())
    else:
        host.texts = copy.deepcopy(host.texts)
        host.set_model(host.unet)
    assert encoders_of(host).key != before


def test_the_key_changes_with_skipped_layers(host: Any, monkeypatch: pytest.MonkeyPatch):
    before, shared = encoders_of(host).key, sys.modules["modules.shared"]
    monkeypatch.setattr(shared.opts, "CLIP_stop_at_last_layers", 3, raising=False)
    assert encoders_of(host).key != before


@pytest.mark.parametrize("kind", [kind for kind in ("forge", "neo") if kind in KINDS])
def test_the_key_changes_with_what_forge_merges_into_the_text_encoders(kind: str, start: Start):
    forge = loaded(start, kind)
    before = encoders_of(forge).key
    clip = forge.sd_model.forge_objects.clip
    clip.patcher = clip.patcher.clone()
    assert encoders_of(forge).key == before
    clip.patcher.add_patches(filename="lora", patches={}, strength_patch=0.5)
    assert encoders_of(forge).key != before


def test_the_key_changes_with_a1111_s_networks_and_their_strength(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    host = loaded(start, "a1111")
    networks = SimpleNamespace(loaded_networks=[])
    monkeypatch.setitem(sys.modules, "networks", networks)
    network = SimpleNamespace(name="lora", te_multiplier=1.0, unet_multiplier=1.0, dyn_dim=None, mtime=1.0)
    keys = {encoders_of(host).key}
    for strength in (1.0, 0.5):
        network.te_multiplier, networks.loaded_networks = strength, [network]
        keys.add(encoders_of(host).key)
    network.unet_multiplier = 0.5
    keys.add(encoders_of(host).key)
    assert len(keys) == 3


def test_a_host_without_known_text_encoders_has_none(start: Start):
    host: Any = start("a1111").host
    assert text_encoders_of(SimpleNamespace(sd_model=host.sd_model), Services()) is None
