"""Tests of changes of the text states before a call of the UNet."""

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_uniid.attention.context import MOST_READY, ContextHook, PreparedText, words_kept
from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.errors import ConfigError, HooksIgnoredError
from tests.attention.builders import GUIDED, hook_count, leaves_no_trace, narrow_unet, predict

TEXT = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(4))
CALLS = ["keyword", "place"]


@dataclass
class Louder:
    """Multiplies the text of cond rows, from half of the steps on."""

    prepared: list[tuple[Hashable, ...]] = field(default_factory=list[tuple[Hashable, ...]])
    tokens: int = 0

    def state(self, progress: float) -> Hashable:
        return 3.0 if progress >= 0.5 else None

    def prepare(self, state: Hashable, text: Tensor, rows: Rows) -> PreparedText:
        self.prepared.append((state, text.shape[1], rows.roles))
        return self.change

    def change(self, text: Tensor, rows: Rows) -> Tensor:
        gains = [3.0 if role is Role.COND else 1.0 for role in rows.roles]
        return text * torch.tensor(gains)[:, None, None]


class Reads(nn.Module):
    """A UNet that returns its text, under the names of ldm."""

    def forward(self, x: Tensor, timesteps: Tensor | None = None, context: Any = None) -> Any:
        return context


def called(unet: nn.Module, how: str, text: Any) -> Any:
    x = torch.zeros(2, 4, 8, 8)
    return unet(x, None, text) if how == "place" else unet(x, timesteps=None, context=text)


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def hooked(stack: ExitStack, rows: Rows, change: Louder | None = None) -> Reads:
    unet = Reads()
    ContextHook((change or Louder(),), rows, lambda: None).register(unet, stack)
    return unet


@pytest.mark.parametrize("how", CALLS)
def test_a_call_reads_a_changed_copy(stack: ExitStack, how: str):
    before = TEXT.clone()
    read = called(hooked(stack, Rows(GUIDED, 0.5)), how, TEXT)
    assert torch.equal(read, torch.stack([TEXT[0], 3.0 * TEXT[1]]))
    assert torch.equal(TEXT, before)


def test_diffusers_unet_is_called_by_place_and_by_keyword():
    unet = narrow_unet()
    sites, plan = find_sites(unet), Plan(branches={}, context=(Louder(),))
    louder = torch.stack([TEXT[0], 3.0 * TEXT[1]])
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        wanted = unet(x, 500, louder).sample
        with injected(sites, plan, Rows(GUIDED, 0.5)) as calls:
            assert torch.equal(unet(x, 500, TEXT).sample, wanted)
            assert torch.equal(unet(x, 500, encoder_hidden_states=TEXT).sample, wanted)
    calls.require()


def test_hooks_that_were_there_before_see_the_changed_text(stack: ExitStack):
    unet, seen = Reads(), list[Tensor]()
    unet.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["context"]), with_kwargs=True)
    ContextHook((Louder(),), Rows(GUIDED, 0.5), lambda: None).register(unet, stack)
    called(unet, "keyword", TEXT)
    assert torch.equal(seen[0][1], 3.0 * TEXT[1])


def test_eject_leaves_no_trace():
    unet = narrow_unet()
    plain, plan = predict(unet), Plan(branches={}, context=(Louder(),))
    rows = Rows(GUIDED, 0.5)
    with leaves_no_trace(unet), injected(find_sites(unet), plan, rows):
        assert not torch.allclose(predict(unet), plain, atol=1e-3)
        rows.progress = 0.0
        assert torch.equal(predict(unet), plain)


@pytest.mark.parametrize("roles", [(Role.UNCOND,) * 2, (Role.STYLE, Role.UNTOUCHED)])
def test_a_call_without_cond_rows_passes_as_it_is(stack: ExitStack, roles: tuple[Role, ...]):
    assert called(hooked(stack, Rows(roles, 0.5)), "keyword", TEXT) is TEXT


def test_nothing_is_prepared_again_while_nothing_changes(stack: ExitStack):
    change, rows = Louder(), Rows((Role.COND,) * 2)
    unet = hooked(stack, rows, change)
    for step in range(8):
        rows.progress = step / 8
        called(unet, "keyword", TEXT)
    assert change.prepared == [(3.0, 7, rows.roles)]
    for length in range(1, MOST_READY + 2):
        called(unet, "keyword", TEXT[:, :length])
    assert len(change.prepared) == MOST_READY + 2


class First(Louder):
    """Changes the first token only."""

    def change(self, text: Tensor, rows: Rows) -> Tensor:
        return torch.cat([super().change(text[:, :1], rows), text[:, 1:]], dim=1)


def test_every_repetition_of_a_text_is_changed(stack: ExitStack):
    rows = Rows(GUIDED, 0.5)
    unet = hooked(stack, rows, First())
    once = called(unet, "keyword", TEXT)
    assert not torch.equal(once, TEXT)
    long = torch.cat([torch.randn(1, 14, 32), TEXT[1:].repeat(1, 2, 1)])  # the uncond row has two chunks
    rows.text_length = TEXT.shape[1]
    twice = called(unet, "keyword", long)
    assert torch.equal(twice[0], long[0])
    assert torch.equal(twice[1], once[1].repeat(2, 1))
    for length in (None, 14, 5, 28):  # the text is its own length, or the host says nothing of it
        rows.text_length = length
        assert torch.equal(called(unet, "keyword", long)[1], torch.cat([3.0 * long[1, :1], long[1, 1:]]))


def test_a_call_with_other_rows_or_without_text_is_refused(stack: ExitStack):
    rows = Rows(GUIDED, 0.5)
    unet = hooked(stack, rows)
    with pytest.raises(ConfigError, match="Reads was called without text states"):
        called(unet, "place", None)
    rows.roles = (*GUIDED, Role.COND)
    with pytest.raises(ConfigError, match="2 rows and the host named 3"):
        called(unet, "keyword", TEXT)


def test_a_unet_whose_own_forward_is_called_is_noticed():
    unet = narrow_unet()
    with injected(find_sites(unet), Plan(branches={}, context=(Louder(),)), Rows(GUIDED, 0.5)) as calls:
        assert not calls.any
        with torch.no_grad():
            unet.forward(torch.randn(2, 4, 8, 8), 500, TEXT)
    with pytest.raises(HooksIgnoredError, match="computed without the hook"):
        calls.require()
    assert hook_count(unet) == 0


def test_the_end_token_makes_room_before_words_do():
    assert [words_kept(tokens) for tokens in (0, 1, 3, 12)] == [75, 75, 73, 64]
