"""IP-Adapter's image prompt, which official recordings have beside identities: a plan's second branch."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lib_uniid.attention.branch import Call, Prepared
from lib_uniid.attention.identity import Pair
from lib_uniid.attention.math import attend, grids
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role, Rows
from lib_uniid.attention.sites import Site
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePrompt:
    """The tokens of one picture, those of a zero embedding, and how strongly they act, and where."""

    tokens: Float[Tensor, "k d"]
    uncond: Float[Tensor, "k d"]
    scale: float
    mask: Float[Tensor, "height width"] | None = None

    def maps(self, latent_size: tuple[int, int] | None) -> dict[int, Float[Tensor, " n"]] | None:
        """The mask at every size of a layer, by its number of image tokens; None without a mask."""
        if self.mask is None:
            return None
        assert latent_size is not None
        mask, sizes = self.mask[None, None], grids(*latent_size)
        return {
            tokens: F.interpolate(mask, size=grid, mode="nearest").flatten() for tokens, grid in sizes.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBranch:
    """A :class:`lib_uniid.attention.branch.Branch` that is the same in every step."""

    cond: Pair
    uncond: Pair
    scale: float
    maps: Mapping[int, Float[Tensor, " n"]] | None

    def state(self, progress: float) -> Hashable:
        return self.scale

    def prepare(self, state: Hashable, query: Float[Tensor, "b n d"], rows: Rows) -> Prepared:
        return _Prepared(self, query)


class _Prepared:
    def __init__(self, branch: ImageBranch, query: Tensor) -> None:
        self.pairs = {
            role: (key.to(query), branch.scale * value.to(query))
            for role, (key, value) in ((Role.COND, branch.cond), (Role.UNCOND, branch.uncond))
        }
        mask = None if branch.maps is None else branch.maps[query.shape[1]]
        self.mask = None if mask is None else rearrange(mask, "n -> 1 n 1").to(query)

    def __call__(self, call: Call) -> Float[Tensor, "b n d"]:
        parts = [
            attend(call.query[run.rows], *self.pairs[run.role])
            if run.role in self.pairs
            else torch.zeros_like(call.query[run.rows])
            for run in call.rows.runs
        ]
        out = torch.cat(parts)
        return out if self.mask is None else out * self.mask


def with_image_prompt(
    plan: Plan | None,
    sites: Sequence[Site],
    weights: Mapping[str, Tensor],
    prompt: ImagePrompt,
    latent_size: tuple[int, int] | None = None,
) -> Plan:
    """The plan with the prompt at each cross-attention layer; ``weights`` by ``<site>.to_k_ip.weight``."""
    plan = plan or Plan(branches={})  # the prompt alone
    maps, branches = prompt.maps(latent_size), dict(plan.branches)
    for site in (site for site in sites if site.cross):
        cond, uncond = (_pair(weights, tokens, site) for tokens in (prompt.tokens, prompt.uncond))
        image = ImageBranch(cond=cond, uncond=uncond, scale=prompt.scale, maps=maps)
        branches[site.index] = (*branches.get(site.index, ()), image)
    return replace(plan, branches=branches)


def _pair(weights: Mapping[str, Tensor], tokens: Float[Tensor, "k d"], site: Site) -> Pair:
    key, value = (
        rearrange(
            F.linear(tokens, weights[f"{site.index}.to_{name}_ip.weight"]), "k (h c) -> 1 h k c", h=site.heads
        )
        for name in "kv"
    )
    return key, value
