"""Tests of the adapter's weights: the published layouts, exactly."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lib_uniid.errors import CheckpointMismatchError, MissingModelError
from lib_uniid.methods.uniportrait.adapter import SiteSizes, UniPortraitAdapter
from tests import recorded
from tests.attention.builders import random_adapter, small_pair

State = dict[str, Tensor]
LAYOUT = recorded.notes("state_dict_layout_full")


def shapes(state: State) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in state.items()}


def router_state(adapter: UniPortraitAdapter) -> State:
    assert adapter.router
    return dict(adapter.router.state_dict())


@pytest.fixture
def adapter() -> UniPortraitAdapter:
    return random_adapter(small_pair().sites)


@pytest.fixture
def files(adapter: UniPortraitAdapter) -> tuple[State, State]:
    return dict(adapter.faceid.state_dict()), router_state(adapter)


# --- layout ---


@pytest.mark.golden
def test_the_layout_at_full_size_is_the_published_one():
    sizes = [SiteSizes(width=x["hidden"], context=x["cross"] or x["hidden"]) for x in LAYOUT["layers"]]
    with torch.device("meta"):
        adapter = UniPortraitAdapter(sizes, rank=128)
        adapter.add_router(tokens=16)
    groups = LAYOUT["groups"]
    assert shapes(adapter.faceid.state_dict()) == groups["faceid_file.faceid_adapter(expected)"]
    assert shapes(router_state(adapter)) == groups["router_file.faceid_adapter(expected,used)"]


def test_what_is_saved_loads_again(adapter: UniPortraitAdapter, files: tuple[State, State]):
    again = UniPortraitAdapter.from_state_dicts(*files)
    ours, theirs = adapter.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_two_lora_sets_may_differ_in_rank(files: tuple[State, State]):
    faceid, _ = files
    router = router_state(random_adapter(small_pair().sites, rank=5))
    loaded = UniPortraitAdapter.from_state_dicts(faceid, router)
    assert loaded.lora("single", 0)["to_q"].down.weight.shape[0] == 3
    assert loaded.lora("multi", 0)["to_q"].down.weight.shape[0] == 5


def test_of_the_router_file_only_lora_and_router_are_read(files: tuple[State, State]):
    faceid, router = files
    frozen_copy = {"1.to_k_faceid.weight": torch.zeros(1), "optimizer.step": torch.zeros(1)}
    loaded = UniPortraitAdapter.from_state_dicts(faceid, router | frozen_copy)
    assert torch.equal(loaded.faceid.state_dict()["1.to_k_faceid.weight"], faceid["1.to_k_faceid.weight"])


def test_weights_keep_the_precision_of_the_file(files: tuple[State, State]):
    halves = {name: tensor.half() for name, tensor in files[0].items()}
    loaded = UniPortraitAdapter.from_state_dicts(halves)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float16}


# --- training ---


def test_a_new_adapter_reads_people_as_the_text_is_read_and_changes_nothing_else():
    pair = small_pair()
    adapter = UniPortraitAdapter.for_sites(pair.sites, rank=3)
    cross = pair.sites[1]
    assert torch.equal(adapter.faceid_site(1).to_k_faceid.weight, cross.to_k.weight)
    assert torch.equal(adapter.faceid_site(1).to_v_faceid.weight, cross.to_v.weight)
    assert not any(lora.delta().any() for i in (0, 1) for lora in adapter.lora("single", i).values())


def test_stage_two_begins_with_a_copy_of_the_single_lora():
    adapter = random_adapter(small_pair().sites, router=False)
    adapter.add_router(tokens=4)
    ours, single = adapter.lora("multi", 1)["to_v"], adapter.lora("single", 1)["to_v"]
    assert torch.equal(ours.delta(), single.delta())
    assert ours.up.weight.data_ptr() != single.up.weight.data_ptr()


# --- refusals ---


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize("name", ["0.to_q_lora.down.weight", "0.to_q_lora.up.weight", "1.to_k_faceid.weight"])
def test_a_tensor_missing_from_the_faceid_file_is_named(files: tuple[State, State], name: str):
    with pytest.raises(CheckpointMismatchError, match=f"missing {name}") as caught:
        UniPortraitAdapter.from_state_dicts(without(name)(files[0]))
    assert caught.value.missing == {name}


@pytest.mark.parametrize("name", ["1.to_out_lora.up.weight", "1.to_q_router.0.bias", "1.aggr_router.weight"])
def test_a_tensor_missing_from_the_router_file_is_named(files: tuple[State, State], name: str):
    faceid, router = files
    with pytest.raises(CheckpointMismatchError, match=f"router file: missing {name}"):
        UniPortraitAdapter.from_state_dicts(faceid, without(name)(router))


@pytest.mark.parametrize("name", ["1.to_k_ip.weight", "999999999.to_k_faceid.weight", "unet.conv_in.weight"])
def test_a_tensor_that_does_not_belong_is_named(files: tuple[State, State], name: str):
    with pytest.raises(CheckpointMismatchError) as caught:
        UniPortraitAdapter.from_state_dicts(files[0] | {name: torch.zeros(2, 2)})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "name", ["0.to_q_lora.down.weight", "1.to_v_faceid.weight", "1.to_k_lora.down.weight"]
)
@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (7, 9)])
def test_a_misshapen_tensor_is_refused(files: tuple[State, State], name: str, shape: tuple[int, ...]):
    with pytest.raises(CheckpointMismatchError) as caught:
        UniPortraitAdapter.from_state_dicts(files[0] | {name: torch.zeros(shape)})
    assert caught.value.misshapen


def test_what_was_not_loaded_is_missed_by_name():
    adapter = random_adapter(small_pair().sites, router=False)
    with pytest.raises(MissingModelError, match="uniportrait-router_sd15"):
        adapter.router_site(1)
