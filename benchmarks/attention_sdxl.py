"""UniID on a UNet of SDXL's layout, for ``python dev.py bench attention --base sdxl``.

A CPU takes minutes for a step at the full size. So the timed UNet has half of its widths and latents of half
the side; the text has the full width. What people add grows with the widths, and the UNet's own work with
their square, so the share of people is larger there than at the full size, ``--full``, which is for a GPU.
There is no LoRA, so the plain step is that of the untouched UNet. The memory is that at the full size in half
precision, with 1024 x 1024 pixels.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from benchmarks.attention import SEVERAL, TEXT_TOKENS, Injection, Size
from benchmarks.report import Figure
from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.identity import IdentityBranch
from lib_uniid.attention.injection import injected
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import find_sites
from lib_uniid.methods.uniid.loading import Projections
from lib_uniid.methods.uniid.plan import AdapterPart, build
from lib_uniid.methods.uniid.settings import PlanSettings

PEOPLE = (1, 4)
TARGETS = {"people=1": 1.02, "people=4": 1.05}
MEMORY_TARGET = 64.0  # MB
TOKENS, TEXT_BRANCH_TOKENS, PROGRESS = 25, 3, 0.5
POOLED, TIME_WIDTH = 1280, 256

HALF = Size(name="sdxl", widths=(160, 320, 640), context=2048, latent=64, rank=0)
FULL = Size(name="sdxl-full", widths=(320, 640, 1280), context=2048, latent=128, rank=0)
NARROW = Size(name="sdxl-narrow", widths=(64, 64, 64), context=64, latent=16, rank=0)


class Bench:
    """One UNet with both branches; on the meta device only operations and memory can be counted."""

    def __init__(self, size: Size, dtype: torch.dtype, device: str) -> None:
        torch.manual_seed(0)
        layers: Any = (1, 2, 10)  # diffusers' annotations allow less than the class
        heads: Any = tuple(max(1, width // 64) for width in size.widths)
        with torch.device(device):
            self.unet = UNet2DConditionModel(
                block_out_channels=size.widths,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                transformer_layers_per_block=layers,
                attention_head_dim=heads,
                cross_attention_dim=size.context,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=TIME_WIDTH,
                projection_class_embeddings_input_dim=POOLED + 6 * TIME_WIDTH,
            ).eval()
            nn.Module.to(self.unet, dtype)  # diffusers' method prints warnings that do not apply to this UNet
            self.sites = find_sites(self.unet)
            self.latents = torch.randn(2, 4, size.latent, size.latent, dtype=dtype)
            self.text = torch.randn(2, TEXT_TOKENS, size.context, dtype=dtype)
            self.added = {
                "text_embeds": torch.randn(2, POOLED, dtype=dtype),
                "time_ids": torch.ones(2, 6, dtype=dtype),
            }
            most = max(PEOPLE) + 1
            self.adapter_tokens = torch.randn(most, TOKENS, size.context, dtype=dtype)
            self.text_tokens = torch.randn(most, TEXT_BRANCH_TOKENS, size.context, dtype=dtype)
            self.projections = {
                site.index: Projections(to_k=site.to_k.weight, to_v=site.to_v.weight)
                for site in self.sites
                if site.cross
            }

    def step(self) -> Tensor:
        return self.unet(
            self.latents, 500, encoder_hidden_states=self.text, added_cond_kwargs=self.added
        ).sample

    def plan(self, count: int, *, masks: bool = False, rescaled: bool = True) -> Plan:
        """With a stripe of the picture for each person if there are masks."""
        rows, columns = self.latents.shape[2], self.latents.shape[3]
        stripes = torch.eye(count).repeat_interleave(-(-columns // count), dim=1)[:, :columns]
        people = [
            PlannedIdentity(tokens=tokens, mask=stripe.expand(rows, -1) if masks else None)
            for tokens, stripe in zip(self.adapter_tokens[1:], stripes, strict=False)
        ]
        part = AdapterPart(people=people, null=self.adapter_tokens[0], projections=self.projections)
        text = [PlannedIdentity(tokens=tokens) for tokens in self.text_tokens[1 : count + 1]]
        settings = PlanSettings(latent_size=(rows, columns), rescaled=rescaled)
        plan = build(self.sites, text, part, settings)
        assert plan is not None
        return plan

    def injection(self, count: int, *, masks: bool = False, rescaled: bool = True) -> Injection:
        """After the merge; the plan is made once, as in a generation."""
        plan = self.plan(count, masks=masks, rescaled=rescaled)
        return lambda: injected(self.sites, plan, Rows((Role.UNCOND, Role.COND), PROGRESS))

    def plain(self) -> Injection:
        return nullcontext

    def variants(self) -> dict[str, Injection]:
        """The compared injections, by the names of their figures."""
        ours = {f"people={count}": self.injection(count) for count in PEOPLE}
        ours |= {f"masks/people={count}": self.injection(count, masks=True) for count in SEVERAL[-1:]}
        return ours | {f"unscaled/people={count}": self.injection(count, rescaled=False) for count in (1,)}


def memory(size: Size) -> Iterator[Figure]:
    """Megabytes of keys and values on the device in half precision, after a step."""
    bench = Bench(size, torch.float16, "meta")
    for name, count, masks in (("people=1", 1, False), ("people=4", 4, False), ("masks/people=4", 4, True)):
        plan = bench.plan(count, masks=masks)
        with injected(bench.sites, plan, Rows((Role.UNCOND, Role.COND), PROGRESS)):
            bench.step()
        branches = [branch for theirs in plan.branches.values() for branch in theirs]
        held = sum(branch.held for branch in branches if isinstance(branch, IdentityBranch)) / 1e6
        yield Figure.at_most(f"attention/sdxl/{name}/held", held, "MB", MEMORY_TARGET)
