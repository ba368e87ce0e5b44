"""Cost of identities per step: ``python dev.py bench attention [--json] [--device NAME] [--dtype NAME] ...``.

A step of a Stable Diffusion 1.5 UNet with random weights, 64 x 64 latents and a guided batch of two is timed
with and without people, alternately, so that changes of the machine's speed affect both. A ratio is the
median over the rounds of the time of a step with people, divided by that of the plain step of the same
round. The plain step runs on weights made like those with people: by a merge of the same LoRA at scale 0,
with the same copies kept. A plain step on unmerged weights (``untouched``) and the textbook form of the same
method are timed too, and so is a router without training. The step with words of each person's own is
compared with that of the same people without. ``--base sdxl`` times UniID on a UNet of SDXL's layout
(``attention_sdxl.py``). Freed memory is kept between steps, as torch's allocator on a
GPU does; returning it to the system costs a varying time, about a seventh of a step.
"""

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Protocol

import torch
from diffusers import UNet2DConditionModel
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.report import Figure, report
from lib_uniid.attention.deciding import AS_SCORED, UNTRAINED, Deciding
from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.injection import injected
from lib_uniid.attention.lora import beside
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site, find_sites
from lib_uniid.attention.words import PersonWords, with_words
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter
from lib_uniid.methods.uniportrait.plan import PlanSettings, build

TARGETS = {1: 1.02, 2: 1.04, 4: 1.05}
TEXTBOOK_PEOPLE = 2
SEVERAL = (2, 4)
"""How many people are timed without a trained router, and with words of their own."""

WORDS, WORDS_TARGET = "own-words/", 1.03
TOKENS, TEXT_TOKENS, RANK, ID_SCALE = 16, 77, 128, 0.7
GPU_STEPS = 20
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h: trimming off, and no separately mapped blocks

Injection = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A UNet of Stable Diffusion 1.5's layout. Only the full size has targets."""

    name: str
    widths: tuple[int, ...]
    context: int
    latent: int
    rank: int


FULL = Size(name="sd15", widths=(320, 640, 1280, 1280), context=768, latent=64, rank=RANK)
NARROW = Size(name="narrow", widths=(32, 32, 64, 64), context=32, latent=16, rank=8)


class Timed(Protocol):
    """A UNet with injections that are compared."""

    latents: Tensor

    def step(self) -> Tensor: ...
    def plain(self) -> Injection: ...
    def variants(self) -> dict[str, Injection]: ...


Make = Callable[[Size, torch.dtype, str], Timed]
"""Of a size, precision and device."""


class Bench:
    """One UNet with one adapter; on the meta device only operations can be counted."""

    def __init__(self, size: Size, dtype: torch.dtype, device: str) -> None:
        torch.manual_seed(0)
        with torch.device(device):
            self.unet = UNet2DConditionModel(
                block_out_channels=size.widths, cross_attention_dim=size.context, attention_head_dim=8
            ).eval()
            nn.Module.to(self.unet, dtype)  # diffusers' method prints warnings that do not apply to this UNet
            self.sites = find_sites(self.unet)
            self.adapter = UniPortraitAdapter.for_sites(self.sites, size.rank)
            self.adapter.add_router(TOKENS)
            self.adapter.to(dtype)
            self.latents = torch.randn(2, 4, size.latent, size.latent, dtype=dtype)
            self.text = torch.randn(2, TEXT_TOKENS, size.context, dtype=dtype)
            self.null = torch.randn(TOKENS, size.context, dtype=dtype)
            self.tokens = torch.randn(max(TARGETS), TOKENS, size.context, dtype=dtype)

    def step(self) -> Tensor:
        return self.unet(self.latents, 500, encoder_hidden_states=self.text).sample

    def plan(self, count: int, settings: PlanSettings | None = None) -> Plan | None:
        people = [PlannedIdentity(tokens=tokens) for tokens in self.tokens[:count]]
        return build(self.adapter, self.sites, people, self.null, settings)

    def injection(
        self, count: int, settings: PlanSettings | None = None, *, words: bool = False
    ) -> Injection:
        """UniID's injection; the plan is made once, as in a generation."""
        plan, rows = self.plan(count, settings), Rows([Role.UNCOND, Role.COND])
        if words and plan is not None:
            own = [PersonWords(person=i, states=self.text[1:]) for i in range(count)]
            plan = with_words(plan, self.sites, own)
        return lambda: injected(self.sites, plan, rows)

    def plain(self) -> Injection:
        """No people, on weights after a merge at scale 0."""
        plan = self.plan(1)
        assert plan is not None
        zeros = replace(plan, branches={}, merge_scale=0.0)
        return lambda: injected(self.sites, zeros, Rows([]))

    def textbook(self, count: int) -> Injection:
        return lambda: textbook(self.sites, self.adapter, self.tokens[:count], self.null)

    def variants(self) -> dict[str, Injection]:
        """The compared injections, by the names of their figures."""
        ours = {f"people={count}": self.injection(count) for count in TARGETS}
        routed, sized = self.settings(UNTRAINED, trained=False), self.settings(AS_SCORED)
        ours |= {f"untrained/people={count}": self.injection(count, routed) for count in SEVERAL}
        ours |= {f"{WORDS}people={count}": self.injection(count, sized, words=True) for count in SEVERAL}
        return ours | {f"textbook/people={TEXTBOOK_PEOPLE}": self.textbook(TEXTBOOK_PEOPLE)}

    def settings(self, how: Deciding, *, trained: bool = True) -> PlanSettings:
        return PlanSettings(
            deciding=how, trained=trained, latent_size=(self.latents.shape[2], self.latents.shape[3])
        )


@contextmanager
def textbook(
    sites: Sequence[Site], adapter: UniPortraitAdapter, people: Tensor, null: Tensor
) -> Generator[None]:
    """The method as published: LoRA beside the weights, everything else recomputed in every step.

    ``people`` is ``i k d``, ``null`` is ``k d``; the rows are uncond and cond. Each person's attention is
    computed on all rows, and so is the router.
    """
    tokens = torch.stack([repeat(null, "k d -> i k d", i=len(people)), people])
    with ExitStack() as stack:
        for site in sites:
            for name, lora in adapter.lora("multi", site.index).items():
                stack.enter_context(beside(site.projections[name], lora, 1.0))
            if site.cross:
                layer = TextbookLayer(site, adapter, tokens)
                stack.callback(site.to_q.register_forward_hook(layer.take).remove)
                stack.callback(site.to_out.register_forward_pre_hook(layer.add).remove)
        yield


class TextbookLayer:
    """The textbook form of one cross-attention layer; ``tokens`` is ``b i k d``."""

    def __init__(self, site: Site, adapter: UniPortraitAdapter, tokens: Tensor) -> None:
        self.heads, self.tokens = site.heads, tokens
        self.faceid, self.router = adapter.faceid_site(site.index), adapter.router_site(site.index)

    def take(self, _module: nn.Module, inputs: tuple[Any, ...], query: Tensor) -> None:
        self.hidden, self.query = inputs[0], query

    def add(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        logits = self.router.to_q_router(self.hidden) @ rearrange(
            self.router.keys(self.tokens), "b i d -> b d i"
        )
        chosen = functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
        out = inputs[0]
        for i, tokens in enumerate(self.tokens.unbind(dim=1)):
            out = out + ID_SCALE * chosen[..., i : i + 1] * self.attend(tokens)
        return out, *inputs[1:]

    def attend(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            rearrange(x, "b n (h c) -> b h n c", h=self.heads)
            for x in (self.query, self.faceid.to_k_faceid(tokens), self.faceid.to_v_faceid(tokens))
        )
        return rearrange(functional.scaled_dot_product_attention(query, key, value), "b h n c -> b n (h c)")


def seconds(bench: Timed, injection: Injection) -> float:
    """Time in seconds of a step after a generation's first, which has cold caches after the merge.

    A GPU runs many steps, with one synchronisation at the end.
    """
    steps = GPU_STEPS if bench.latents.is_cuda else 1
    with injection():
        bench.step()
        wait(bench)
        begin = time.perf_counter()
        for _ in range(steps):
            bench.step()
        wait(bench)
        return (time.perf_counter() - begin) / steps


def wait(bench: Timed) -> None:
    """Synchronise with the GPU."""
    if bench.latents.is_cuda:
        torch.cuda.synchronize()


def operations(bench: Timed, injection: Injection) -> int:
    """Floating-point operations of one step."""
    with injection(), FlopCounterMode(display=False) as counter:
        bench.step()
    return counter.get_total_flops()


def count(size: Size, make: Make) -> Iterator[Figure]:
    """Operation counts, relative to the plain step."""
    bench = make(size, torch.float32, "meta")
    plain = operations(bench, nullcontext)
    counted = {name: operations(bench, injection) for name, injection in bench.variants().items()}
    for name, found in counted.items():
        ratio = found / (counted[name.removeprefix(WORDS)] if name.startswith(WORDS) else plain)
        yield Figure(name=f"attention/{size.name}/{name}/flops_ratio", value=ratio, unit="x")


def keep_memory() -> None:
    """Make the C library keep freed memory; only glibc has this setting."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def measure(
    size: Size,
    make: Make,
    targets: Mapping[str, float],
    *,
    dtype: torch.dtype,
    pairs: int,
    device: str,
    only: Sequence[str],
) -> Iterator[Figure]:
    """Times of a step, relative to the plain step of the same round; only those in ``only``, if given."""
    keep_memory()
    bench = make(size, dtype, device)
    injections = {name: one for name, one in bench.variants().items() if not only or name in only}
    plain = bench.plain()
    beside: dict[str, Injection] = {"plain-again": plain}
    if not only and plain is not nullcontext:
        beside["untouched"] = nullcontext
    variants: dict[str, Injection] = {"plain": plain, **beside, **injections}
    times: dict[str, list[float]] = {name: [] for name in variants}
    bench.step()  # the first step also allocates memory
    for number in tqdm(range(pairs), desc="rounds", unit="round", file=sys.stderr):
        names = list(variants)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(seconds(bench, variants[name]))
    yield Figure(name=f"attention/{size.name}/plain", value=median(times["plain"]), unit="s")
    for name in [*injections, *beside]:  # plain-again measures the noise
        base = times.get(name.removeprefix(WORDS), []) if name.startswith(WORDS) else times["plain"]
        if not base:  # the same people without words were not asked for
            continue
        ratio = median(ours / plain for ours, plain in zip(times[name], base, strict=True))
        path = f"attention/{size.name}/{name}/ratio"
        if name in targets:
            yield Figure.at_most(path, ratio, "x", targets[name])
        else:
            yield Figure(name=path, value=ratio, unit="x")


def bounds() -> dict[str, float]:
    """The targets of the full size, by the names of the figures."""
    people = {f"people={count}": bound for count, bound in TARGETS.items()}
    return people | {f"{WORDS}people={count}": WORDS_TARGET for count in SEVERAL}


def main(argv: list[str]) -> int:
    """Print the figures; 1 if one misses its target."""
    parser = argparse.ArgumentParser(prog="bench attention", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object per line")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="precision of the UNet")
    parser.add_argument("--latent", type=int, help="side of the latents (default: the layout's)")
    parser.add_argument(
        "--pairs", type=int, default=9, help="rounds of one plain step and one step of each kind"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="such as people=1: time only these"
    )
    parser.add_argument(
        "--narrow", action="store_true", help="a small UNet, which takes seconds and has no targets"
    )
    parser.add_argument("--base", choices=("sd15", "sdxl"), default="sd15", help="layout of the UNet")
    parser.add_argument("--full", action="store_true", help="with --base sdxl: the full size, for a GPU")
    options = parser.parse_args(argv)
    with torch.no_grad():
        return report(figures(options), as_json=options.json)


def figures(options: argparse.Namespace) -> Iterator[Figure]:
    """All figures for these options."""
    make: Make = Bench
    size, targets = (NARROW, {}) if options.narrow else (FULL, bounds())
    if options.base == "sdxl":
        from benchmarks import attention_sdxl as sdxl

        yield from sdxl.memory(sdxl.FULL)
        make = sdxl.Bench
        wide = sdxl.FULL if options.full else sdxl.HALF
        size, targets = (sdxl.NARROW, {}) if options.narrow else (wide, sdxl.TARGETS)
    if options.latent:
        size = replace(size, latent=options.latent)
    yield from count(size, make)
    yield from measure(
        size,
        make,
        targets,
        dtype=DTYPES[options.dtype],
        pairs=options.pairs,
        device=options.device,
        only=options.only,
    )
