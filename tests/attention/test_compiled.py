"""Tests of people on a UNet that ``torch.compile`` has compiled, and on one with fused projections."""

from collections.abc import Callable, Generator

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn
from torch._dynamo.utils import counters  # pyright: ignore[reportPrivateUsage]

from lib_uniid.attention.compiled import called_by_compiled, original, suspended
from lib_uniid.attention.injection import Calls, injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Rows
from lib_uniid.attention.sharing import Sharing, shared
from lib_uniid.attention.sites import find_sites
from lib_uniid.errors import ConfigError, HooksIgnoredError
from lib_uniid.methods.uniportrait.plan import build
from tests.attention.builders import GUIDED, Named, narrow_unet, null_tokens, people, predict, random_adapter

Compile = Callable[[nn.Module], nn.Module]
NAME = "down_blocks.0.attentions.0.transformer_blocks.0"


class SmallUNet(Named):
    """One real transformer block under its name in a UNet."""

    def forward(self, hidden: Tensor, text: Tensor) -> Tensor:
        return self.get_submodule(NAME)(hidden, encoder_hidden_states=text)


def whole(unet: nn.Module) -> nn.Module:
    return torch.compile(unet, backend="eager")  # pyright: ignore[reportReturnType]


def in_place(unet: nn.Module) -> nn.Module:
    unet.compile(backend="eager")
    return unet


def one_block(unet: nn.Module) -> nn.Module:
    parent, _, last = NAME.rpartition(".")
    setattr(unet.get_submodule(parent), last, whole(unet.get_submodule(NAME)))
    return unet


@pytest.fixture(autouse=True)
def fresh() -> Generator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def unet() -> SmallUNet:
    torch.manual_seed(0)
    block = BasicTransformerBlock(8, 2, 4, cross_attention_dim=6)
    return SmallUNet({NAME: block}).eval().requires_grad_(False)


def plan_for(unet: nn.Module) -> Plan:
    sites = find_sites(unet)
    plan = build(random_adapter(sites), sites, people(1, 6), null_tokens(6))
    assert plan is not None
    return plan


def out(unet: nn.Module) -> Tensor:
    random = torch.Generator().manual_seed(1)
    given = torch.randn(2, 16, 8, generator=random), torch.randn(2, 7, 6, generator=random)
    with torch.no_grad():
        return unet(*given)


def with_people(unet: nn.Module, plan: Plan) -> tuple[Tensor, Calls]:
    with injected(find_sites(unet), plan, Rows(GUIDED)) as calls:
        return out(unet), calls


@pytest.mark.parametrize("compile_it", [whole, in_place, one_block])
def test_people_are_injected_into_a_compiled_unet_and_ejected_afterwards(
    unet: SmallUNet, compile_it: Compile
):
    plan = plan_for(unet)
    plain, (expected, _) = out(unet), with_people(unet, plan)
    compiled = compile_it(unet)
    assert torch.allclose(out(compiled), plain, atol=1e-6)
    made, calls = with_people(compiled, plan)
    assert torch.equal(made, expected)
    assert calls.compiled
    calls.require()
    assert torch.allclose(out(compiled), plain, atol=1e-6)


def test_what_was_compiled_is_used_again_afterwards(unet: SmallUNet):
    compiled, plan = whole(unet), plan_for(unet)
    out(compiled)
    before = counters["frames"]["total"]
    with_people(compiled, plan)
    out(compiled)
    assert counters["frames"]["total"] == before


def test_a_style_is_taken_from_a_compiled_unet(unet: SmallUNet):
    sites, rows = find_sites(unet), Rows(GUIDED)
    with shared(sites, Sharing(), rows):
        seen: list[bool] = []
        sites[0].to_q.register_forward_hook(lambda *_: seen.append(called_by_compiled()))
        out(whole(unet))
    assert seen == [True]


def test_a_unet_that_is_not_compiled_is_not_reported_as_compiled(unet: SmallUNet):
    _, calls = with_people(unet, plan_for(unet))
    assert not calls.compiled


def test_the_module_that_was_compiled_is_found_again(unet: SmallUNet):
    assert original(whole(unet)) is unet
    assert original(unet) is unet
    assert [site.name for site in find_sites(whole(unet))] == [site.name for site in find_sites(unet)]


def test_where_torch_has_no_switch_nothing_is_switched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(torch.compiler, "set_stance")
    entered = False
    with suspended():
        entered = True
    assert entered


@pytest.mark.parametrize("layer", ["to_q", "to_out"])
def test_a_layer_that_is_computed_past_one_of_its_hooks_is_an_error(unet: SmallUNet, layer: str):
    """An engine that multiplies by the weights itself never calls the module."""
    linear = find_sites(unet)[1].projections[layer]
    plan = plan_for(unet)

    def computed(hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, linear.weight, linear.bias)

    class Engine(nn.Module):
        def forward(self, hidden: Tensor) -> Tensor:
            return computed(hidden)

    sites = find_sites(unet)
    attention = unet.get_submodule(f"{NAME}.attn2")
    if layer == "to_q":
        attention.to_q = Engine()
    else:
        attention.to_out[0] = Engine()  # pyright: ignore[reportIndexIssue, reportArgumentType]
    with injected(sites, plan, Rows(GUIDED)) as calls:
        out(unet)
    with pytest.raises(HooksIgnoredError, match=r"1 of 1 cross-attention layers .*attn2"):
        calls.require()


def test_fused_projections_are_refused_by_name():
    unet = narrow_unet()
    sites = find_sites(unet)
    plan = build(random_adapter(sites), sites, people(1, 32), null_tokens(32))
    plain = predict(unet)
    unet.fuse_qkv_projections()
    for putting_on in (
        lambda: injected(sites, plan, Rows(GUIDED)),
        lambda: shared(sites, Sharing(), Rows(GUIDED)),
    ):
        with pytest.raises(ConfigError, match="unfuse_qkv_projections"), putting_on():
            pass
    unet.unfuse_qkv_projections()
    with injected(sites, plan, Rows(GUIDED)):
        assert not torch.allclose(predict(unet), plain, atol=1e-3)
