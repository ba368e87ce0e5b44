"""The method's LoRA beside the user's own on AUTOMATIC1111, and through the host's patches on Forge."""

import copy
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_uniid.attention.lora import Deltas, LoRA
from lib_uniid.hosts.webui.a1111 import beside_networks
from tests.hosts.webui.asking import ask, person
from tests.hosts.webui.conftest import Start
from tests.hosts.webui.standin.forge import UnetPatcher
from tests.hosts.webui.standin.neo import LoRAAdapter, merged
from tests.hosts.webui.standin.webui import WebUI
from tests.hosts.webui.watching import ROUNDING, any_host, hooks, latents
from tests.near import assert_near

ANNA = ask(person("Anna"))
STRONG, WEAK = (("first", 1.0),), (("first", 0.5), ("second", -0.7))


@pytest.fixture(params=["merged", "functional"])
def webui(request: pytest.FixtureRequest, start: Start) -> Iterator[WebUI]:
    """AUTOMATIC1111 with its Lora extension and two networks."""
    webui = start("a1111")
    host = any_host(webui)
    host.options.lora_functional = request.param == "functional"
    host.networks.add("first", host.unet, seed=1)
    host.networks.add("second", host.unet, seed=2)
    with host.networks.installed():
        yield webui


def state(unet: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in unet.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


ORDERS: list[list[dict[str, Any]]] = [
    [{"networks": STRONG, "alwayson_scripts": ANNA}, {"networks": STRONG}, {}],
    [{"alwayson_scripts": ANNA}, {"networks": STRONG}, {"networks": STRONG, "alwayson_scripts": ANNA}, {}],
    [{"networks": STRONG}, {"networks": WEAK, "alwayson_scripts": ANNA}, {"networks": STRONG}, {}],
    [{"networks": WEAK, "alwayson_scripts": ANNA}, {"alwayson_scripts": ANNA}, {"networks": WEAK}, {}],
]


@pytest.mark.parametrize("order", range(len(ORDERS)))
def test_pictures_do_not_depend_on_what_was_made_before_with_loras_and_people(webui: WebUI, order: int):
    weights = state(any_host(webui).unet)
    plain = latents(webui.txt2img())
    made = [latents(webui.txt2img(**kind)) for kind in ORDERS[order]]
    for kind, picture in zip(ORDERS[order], made, strict=True):
        webui.txt2img()
        assert torch.equal(latents(webui.txt2img(**kind)), picture)
    assert torch.equal(made[-1], plain)
    assert same(state(any_host(webui).unet), weights)
    assert len({picture.numpy().tobytes() for picture in made}) == len({str(kind) for kind in ORDERS[order]})


def test_people_and_loras_add_up_as_if_both_were_merged_by_hand(webui: WebUI, start: Start):
    host = any_host(webui)
    together = latents(webui.txt2img(networks=STRONG, alwayson_scripts=ANNA))
    host.activate(())  # the patch of nn.Linear would merge them here as well
    by_hand = start("a1111")
    with torch.no_grad():
        for name, module in any_host(by_hand).unet.named_modules():
            if name in host.networks.known["first"] and isinstance(module, nn.Linear):
                module.weight += host.networks.known["first"][name]
    expected = latents(by_hand.txt2img(alwayson_scripts=ANNA))
    assert_near(together, expected, within=ROUNDING * float(expected.abs().max()))


def test_other_loras_in_the_hires_pass_and_loras_switched_while_sampling_leave_nothing(webui: WebUI):
    host = any_host(webui)
    weights, plain = state(host.unet), latents(webui.txt2img())
    strong = latents(webui.txt2img(networks=STRONG))
    webui.txt2img(networks=STRONG, hr_networks=WEAK, enable_hr=True, alwayson_scripts=ANNA)
    for before, after in (((), STRONG), (STRONG, WEAK), (STRONG, ())):
        host.switch_networks = (1, after)
        assert webui.txt2img(steps=3, networks=before, alwayson_scripts=ANNA).status == 200
        host.switch_networks = None
        assert torch.equal(latents(webui.txt2img(networks=STRONG)), strong)
        assert torch.equal(latents(webui.txt2img()), plain)
    assert same(state(host.unet), weights)
    assert hooks(host.unet) == 0


def test_people_are_back_one_step_after_the_loras_were_switched(webui: WebUI):
    host = any_host(webui)
    switched_first = latents(webui.txt2img(steps=6, networks=WEAK, alwayson_scripts=ANNA))
    host.switch_networks = (0, WEAK)  # in the first evaluation, from none
    late = latents(webui.txt2img(steps=6, alwayson_scripts=ANNA))
    host.switch_networks = None
    never = latents(webui.txt2img(steps=6, networks=WEAK))
    assert (late - switched_first).abs().mean() < 0.5 * (never - switched_first).abs().mean()


@pytest.mark.parametrize("networks", [(), STRONG])
def test_a_refiner_that_is_loaded_into_the_same_unet_keeps_its_weights_and_has_people(
    webui: WebUI, start: Start, networks: Any
):
    host = any_host(webui)
    other = {name: -0.9 * tensor for name, tensor in host.unet.state_dict().items()}
    host.refiner_weights = (1, other)
    refined = latents(webui.txt2img(steps=3, networks=networks, alwayson_scripts=ANNA))
    host.refiner_weights = None
    webui.txt2img()
    assert same(state(host.unet), other)
    if not networks:
        apart = start("a1111")
        second = copy.deepcopy(any_host(apart).unet)
        second.load_state_dict(other)
        any_host(apart).refiner = (1, second)
        assert_near(refined, latents(apart.txt2img(steps=3, alwayson_scripts=ANNA)), within=1e-3)


def test_a_layer_whose_precision_has_no_products_here_is_merged_too():
    linear = nn.Linear(4, 3, bias=False).to(torch.float8_e4m3fn)
    before = linear.weight.clone()
    lora = LoRA(4, 3, 2)
    nn.init.ones_(lora.up.weight)
    with torch.no_grad(), beside_networks(linear, lora, 1.0, Deltas()):
        assert not torch.equal(linear.weight.float(), before.float())
    assert torch.equal(linear.weight.float(), before.float())


# --- Forge ---


@pytest.mark.parametrize("kind", ["forge", "neo"])
def test_the_users_loras_and_the_methods_are_merged_by_forge_and_taken_out_again(start: Start, kind: str):
    webui = start(kind)
    host, name = (
        any_host(webui),
        "diffusion_model.mid_block.attentions.0.transformer_blocks.0.attn2.to_q.weight",
    )
    shape = host.unet.state_dict()[name.removeprefix("diffusion_model.")].shape
    host.known["first"] = {name: ("diff", (torch.randn(shape, generator=torch.Generator().manual_seed(1)),))}
    weights, plain = state(host.unet), latents(webui.txt2img())
    user = latents(webui.txt2img(networks=STRONG))
    both = latents(webui.txt2img(networks=STRONG, alwayson_scripts=ANNA))
    alone = latents(webui.txt2img(alwayson_scripts=ANNA))
    assert not torch.allclose(both, alone, atol=1e-3)
    assert torch.equal(latents(webui.txt2img(networks=STRONG)), user)
    assert torch.equal(latents(webui.txt2img(networks=STRONG, alwayson_scripts=ANNA)), both)
    assert torch.equal(latents(webui.txt2img()), plain)
    assert same(state(host.unet), weights)


def test_another_lora_has_another_name_so_that_forge_merges_it(start: Start):
    webui = start("forge")
    one = latents(webui.txt2img(alwayson_scripts=ANNA))
    both = ask(person("Anna"), person("Ben"))  # the set for several people
    webui.txt2img(alwayson_scripts=both)
    names = {key[0] for key in any_host(webui).sd_model.forge_objects.unet.model.merged}
    webui.txt2img(alwayson_scripts=ANNA)
    others = {key[0] for key in any_host(webui).sd_model.forge_objects.unet.model.merged}
    assert names != others
    assert torch.equal(latents(webui.txt2img(alwayson_scripts=ANNA)), one)


def test_patchers_without_names_are_given_none(start: Start, monkeypatch: pytest.MonkeyPatch):
    named = latents(start("forge").txt2img(alwayson_scripts=ANNA))
    original = UnetPatcher.add_patches

    def add_patches(self: UnetPatcher, patches: Any, strength_patch: float, strength_model: float) -> Any:
        return original(
            self, filename="?", patches=patches, strength_patch=strength_patch, strength_model=strength_model
        )

    monkeypatch.setattr(UnetPatcher, "add_patches", add_patches)
    assert torch.equal(latents(start("forge").txt2img(alwayson_scripts=ANNA)), named)


def test_a_host_with_a_class_for_loras_merges_the_same(start: Start, monkeypatch: pytest.MonkeyPatch):
    tuples = latents(start("forge").txt2img(alwayson_scripts=ANNA))
    given: list[LoRAAdapter] = []

    def adapter(loaded_keys: set[str], weights: tuple[Any, ...]) -> LoRAAdapter:
        given.append(LoRAAdapter(loaded_keys, weights))
        return given[-1]

    monkeypatch.setattr("tests.hosts.webui.standin.forge._change", lambda patch: patch.change())
    reforge = SimpleNamespace(LoRAAdapter=adapter)
    monkeypatch.setitem(sys.modules, "ldm_patched.modules.weight_adapter", reforge)
    assert torch.equal(latents(start("forge").txt2img(alwayson_scripts=ANNA)), tuples)
    assert given


def test_neo_merges_the_methods_lora_as_forge_does(start: Start):
    forge = latents(start("forge").txt2img(alwayson_scripts=ANNA))
    neo = latents(start("neo").txt2img(alwayson_scripts=ANNA))
    assert_near(neo, forge, within=ROUNDING * float(forge.abs().max()))


@pytest.mark.parametrize("kind", ["lora", "loha"])
def test_neo_refuses_the_tuples_of_forge(kind: str):
    factors = torch.ones(2, 1), torch.ones(1, 2), 1.0, None, None
    with pytest.raises(ValueError, match=f'of type "{kind}" is not recognized'):
        merged(torch.zeros(2, 2), "weight", [(1.0, (kind, factors), 1.0)])
