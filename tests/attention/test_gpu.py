"""Tests of people on a UNet on a GPU: the same numbers, no step waits for the GPU, compiled or not."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from lib_uniid.attention.injection import injected
from lib_uniid.attention.rows import Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from tests.attention.builders import GUIDED, narrow_unet, null_tokens, people, random_adapter

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]

COUNTS = (1, 2, 4)
MIXED = "one drawn, two routed"
LEFT_HALF = torch.zeros(8, 8)
LEFT_HALF[:, :4] = 1.0


@contextmanager
def no_waiting() -> Generator[None]:
    """Fail where the program waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Chain:
    """A narrow UNet with people on a device, in one precision."""

    def __init__(self, device: str, dtype: torch.dtype, who: int | str) -> None:
        self.unet: UNet2DConditionModel = narrow_unet()
        self.unet.to(device, dtype)  # pyright: ignore[reportArgumentType]
        generator = torch.Generator().manual_seed(4)
        self.latents = torch.randn(1, 4, 8, 8, generator=generator).expand(2, -1, -1, -1).to(device, dtype)
        self.text = torch.randn(2, 7, 32, generator=generator).to(device, dtype)
        self.sites = find_sites(self.unet)
        adapter = random_adapter(self.sites).to(device, dtype)
        asked = people(3 if isinstance(who, str) else who, 32)
        if who == MIXED:
            asked[0] = type(asked[0])(tokens=asked[0].tokens, mask=LEFT_HALF)
        moved = [type(one)(tokens=one.tokens.to(device, dtype), mask=one.mask) for one in asked]
        settings = PlanSettings(latent_size=(8, 8))
        with torch.no_grad():
            self.plan = build(adapter, self.sites, moved, null_tokens(32).to(device, dtype), settings)

    @torch.no_grad()
    def step(self) -> Tensor:
        return self.unet(self.latents, self.time, encoder_hidden_states=self.text).sample

    @property
    def time(self) -> Tensor:
        return torch.full((), 500, device=self.latents.device)


@pytest.mark.parametrize("who", [*COUNTS, MIXED])
def test_the_gpu_computes_what_the_processor_computes(who: int | str):
    results: list[Tensor] = []
    for device in ("cpu", "cuda"):
        chain = Chain(device, torch.float64, who)  # else rounding gives some places to another person
        with injected(chain.sites, chain.plan, Rows(GUIDED)):
            results.append(chain.step().cpu())
    torch.testing.assert_close(results[1], results[0], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("who", [*COUNTS, MIXED])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_no_step_waits_for_the_gpu(dtype: torch.dtype, who: int | str):
    chain = Chain("cuda", dtype, who)
    with injected(chain.sites, chain.plan, Rows(GUIDED)) as calls:
        first = chain.step()
        with no_waiting():
            second = chain.step()
    calls.require()
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_afterwards_the_unet_is_bit_for_bit_as_before(dtype: torch.dtype):
    chain = Chain("cuda", dtype, 2)
    before, weights = chain.step(), {name: x.clone() for name, x in chain.unet.state_dict().items()}
    with injected(chain.sites, chain.plan, Rows(GUIDED)):
        assert not torch.equal(chain.step(), before)
    assert torch.equal(chain.step(), before)
    assert all(torch.equal(x, weights[name]) for name, x in chain.unet.state_dict().items())


def test_people_are_in_a_unet_that_inductor_has_compiled():
    chain = Chain("cuda", torch.float32, 2)
    with injected(chain.sites, chain.plan, Rows(GUIDED)):
        expected = chain.step()
    eager = chain.step()
    chain.unet.compile()
    plain = chain.step()
    torch.testing.assert_close(plain, eager, rtol=0.0, atol=1e-2)
    with injected(chain.sites, chain.plan, Rows(GUIDED)) as calls:
        with_people = chain.step()
    calls.require()
    assert torch.equal(with_people, expected)
    assert torch.equal(chain.step(), plain)
