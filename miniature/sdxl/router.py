"""Stage II on SDXL: a router at the first cross-attention layer of each transformer, for all of its blocks.

The base and both branches stay as they are. The router learns by the routing loss from what it has brought
about itself: each place is given to one person as in sampling.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib_uniid.attention.sites import Site
from lib_uniid.methods.uniid.adapter_branch import AdapterBranch
from lib_uniid.methods.uniportrait.adapter import TwoLayers
from lib_uniid.training.router_loss import imbalance, routing_loss
from lib_uniid.typing import Float
from miniature.sdxl.branches import Stage, read_by
from miniature.sdxl.networks import CONTEXT, FACE_TOKENS
from miniature.sdxl.steps import Batch

SEED = 171
BALANCE = 1.0


class RouterSite(nn.Module):
    """UniPortrait's router (arXiv 2408.05939, section 3.3) at one layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q_router = TwoLayers(width, width)
        self.to_k_router = TwoLayers(CONTEXT, width)
        self.aggr_router = nn.Linear(FACE_TOKENS, 1)

    def forward(
        self, hidden: Float[Tensor, "b n w"], tokens: Float[Tensor, "b i k d"]
    ) -> Float[Tensor, "b n i"]:
        """The scores."""
        keys = self.to_k_router(self.aggr_router(tokens.mT)[..., 0])
        return self.to_q_router(hidden) @ keys.mT


class Routers(nn.ModuleDict):
    """One for each transformer; ``leaders`` gives each layer the layer whose router it follows."""

    def __init__(self, sites: tuple[Site, ...]) -> None:
        self.leaders = leaders(sites)
        widths = {site.index: site.width for site in sites}
        super().__init__({str(one): RouterSite(widths[one]) for one in sorted({*self.leaders.values()})})


def leaders(sites: tuple[Site, ...]) -> dict[int, int]:
    """The first cross-attention layer of each layer's transformer."""
    first: dict[str, int] = {}
    found: dict[int, int] = {}
    for site in sites:
        if site.cross:
            transformer = re.split(r"\.transformer_blocks\.", site.name)[0]
            found[site.index] = first.setdefault(transformer, site.index)
    return found


def train(stage: Stage, branch: AdapterBranch, seconds: float, steps: int | None) -> Routers:
    """Train and return the routers."""
    torch.manual_seed(SEED)
    base, device = stage.base.requires_grad_(False), stage.pictures.latents.device
    routers = Routers(base.sites).to(device)

    def loss(batch: Batch) -> Mapping[str, Tensor]:
        seen: dict[int, Tensor] = {}
        maps: dict[int, Tensor] = {}
        with torch.no_grad():
            states, pooled = base.states(batch["texts"], batch["texts_2"], batch["ends"])
            read_by(base.reading, branch, batch)
            tokens = base.reading.tokens
            assert tokens is not None
            absent = (batch["x"] > 1)[:, None] * -1e4

            def route(site: int, hidden: Tensor) -> Tensor:
                leader = routers.leaders[site]
                if leader not in maps:
                    seen[leader] = hidden
                    logits = routers[str(leader)](hidden, tokens) + absent
                    maps[leader] = F.one_hot(logits.argmax(-1), logits.shape[-1]).to(hidden)
                return maps[leader]

            base.reading.route = route
            base.predict(batch["noisy"], batch["times"], states, pooled, batch["time_ids"])
            base.reading.route = None
        logits = [(routers[str(one)](hidden, tokens) + absent).float() for one, hidden in seen.items()]
        routed, right = routing_loss(logits, batch["persons"])
        balanced = imbalance(logits, batch["persons"])
        return {"loss": routed + BALANCE * balanced, "routing": routed.detach(), "right": right}

    several = torch.cat([stage.pictures.of(2), stage.pictures.of(3)])

    def batches():
        for one in stage.batches(SEED + 1, several):
            persons = stage.pictures.faces[one["index"][:, None], one["order"]].float()
            yield one | {"persons": persons}

    stage.learn(routers, loss, "router", 4e-3, seconds, steps, batches())
    return routers
