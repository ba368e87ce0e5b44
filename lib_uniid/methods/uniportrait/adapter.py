"""UniPortrait's weights at the attention sites, named as in the published files.

``faceid`` is the ``faceid_adapter`` of ``uniportrait-faceid_sd15.bin``, ``router`` that of
``uniportrait-router_sd15.bin`` (whose LoRA, the set for several people, stands there under the plain names).
Widths and ranks are read off the tensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lib_uniid.attention.lora import LoRA
from lib_uniid.attention.sites import PROJECTIONS, Site
from lib_uniid.errors import MissingModelError
from lib_uniid.methods.site_router import RouterLayers
from lib_uniid.weights import load_exactly, shape_of, without_values

FACEID_ENTRY = "faceid_adapter"
ROUTER_ENTRY = "faceid_adapter of the router file"
LoRASet = Literal["single", "multi"]
State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSizes:
    """``width`` channels of the queries, ``context`` channels of what keys and values are made from."""

    width: int
    context: int


class LoRASite(nn.Module):
    """The four LoRA of one attention layer."""

    def __init__(self, sizes: SiteSizes, rank: int) -> None:
        super().__init__()
        self.to_q_lora = LoRA(sizes.width, sizes.width, rank)
        self.to_k_lora = LoRA(sizes.context, sizes.width, rank)
        self.to_v_lora = LoRA(sizes.context, sizes.width, rank)
        self.to_out_lora = LoRA(sizes.width, sizes.width, rank)

    @property
    def loras(self) -> dict[str, LoRA]:
        """By the name of the linear layer that each of them changes."""
        return {name: getattr(self, f"{name}_lora") for name in PROJECTIONS}


class FaceIDSite(LoRASite):
    """A cross-attention layer's LoRA and the projections of the identity tokens, shared by all people."""

    def __init__(self, sizes: SiteSizes, rank: int) -> None:
        super().__init__(sizes, rank)
        self.to_k_faceid = nn.Linear(sizes.context, sizes.width, bias=False)
        self.to_v_faceid = nn.Linear(sizes.context, sizes.width, bias=False)


class RouterSite(LoRASite, RouterLayers):
    """A cross-attention layer's LoRA for several people and its router (arXiv 2408.05939, section 3.3)."""

    def __init__(self, sizes: SiteSizes, rank: int, tokens: int) -> None:
        super().__init__(sizes, rank)
        self.add_router(width=sizes.width, context=sizes.context, tokens=tokens)


class UniPortraitAdapter(nn.Module):
    """All of UniPortrait that sits in the UNet. Sites alternate: even self-attention, odd cross-attention."""

    def __init__(self, sizes: Sequence[SiteSizes], rank: int) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.faceid = nn.ModuleDict(
            {str(i): (FaceIDSite if i % 2 else LoRASite)(size, rank) for i, size in enumerate(sizes)}
        )
        self.router: nn.ModuleDict | None = None

    @classmethod
    def for_sites(cls, sites: Sequence[Site], rank: int) -> "UniPortraitAdapter":
        """Begin training for a UNet: LoRA without effect, identity projections copied from the text's."""
        adapter = cls([SiteSizes(width=site.width, context=site.context) for site in sites], rank)
        with torch.no_grad():
            for site in sites:
                if site.cross:
                    faceid = adapter.faceid_site(site.index)
                    faceid.to_k_faceid.weight.copy_(site.to_k.weight)
                    faceid.to_v_faceid.weight.copy_(site.to_v.weight)
        return adapter

    @classmethod
    def from_state_dicts(cls, faceid_adapter: State, router: State | None = None) -> "UniPortraitAdapter":
        """Build from the contents of the published files; the tensors are taken over, not copied.

        ``faceid_adapter`` and ``router`` are the entries ``faceid_adapter`` of the two UniPortrait files. Of
        the router's entries only LoRA and router are used. Raises CheckpointMismatchError naming the tensors
        that are missing, unexpected or of a wrong shape.
        """
        with without_values():
            adapter = cls(_sizes(faceid_adapter), _rank(faceid_adapter, FACEID_ENTRY))
        load_exactly(adapter.faceid, faceid_adapter, FACEID_ENTRY)
        if router is not None:
            adapter._load_router(
                {name: router[name] for name in router if "lora." in name or "router." in name}
            )
        return adapter

    def add_router(self, tokens: int) -> nn.ModuleDict:
        """Begin stage II: a new router for ``tokens`` tokens a person, with a copy of the single LoRA."""
        first = self.faceid_site(1).to_q_lora.down.weight
        self.router = _router(self.sizes, first.shape[0], tokens).to(first.device, first.dtype)
        for index in range(len(self.sizes)):
            ours, single = self.lora("multi", index), self.lora("single", index)
            for name in PROJECTIONS:
                ours[name].load_state_dict(single[name].state_dict())
        return self.router

    def lora(self, chosen: LoRASet, index: int) -> dict[str, LoRA]:
        """The four LoRA of a site by the layer's name; MissingModelError for "multi" without the router."""
        site = (self.faceid if chosen == "single" else self._router())[str(index)]
        assert isinstance(site, LoRASite)
        return site.loras

    def faceid_site(self, index: int) -> FaceIDSite:
        """The identity projections of cross site ``index``."""
        site = self.faceid[str(index)]
        assert isinstance(site, FaceIDSite)
        return site

    def router_site(self, index: int) -> RouterSite:
        """The router of cross site ``index``; MissingModelError without the router's file."""
        site = self._router()[str(index)]
        assert isinstance(site, RouterSite)
        return site

    def _router(self) -> nn.ModuleDict:
        if self.router is None:
            raise MissingModelError(
                "several people need the router, uniportrait-router_sd15, and it is not there; "
                "put it into the model folder, or draw a mask for each person"
            )
        return self.router

    def _load_router(self, state: State) -> None:
        tokens = shape_of(state, "1.aggr_router.weight", ROUTER_ENTRY)[1]
        with without_values():
            self.router = _router(self.sizes, _rank(state, ROUTER_ENTRY), tokens)
        load_exactly(self.router, state, ROUTER_ENTRY)


def _router(sizes: Sequence[SiteSizes], rank: int, tokens: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            str(i): RouterSite(size, rank, tokens) if i % 2 else LoRASite(size, rank)
            for i, size in enumerate(sizes)
        }
    )


def _sizes(state: State) -> list[SiteSizes]:
    """Sizes of the pairs of sites numbered from 0 without a gap; at least one pair."""
    numbered = {name.partition(".")[0] for name in state}
    count = next(i for i in range(len(state) + 1) if str(i) not in numbered)
    return [
        SiteSizes(
            width=shape_of(state, f"{i}.to_q_lora.up.weight", FACEID_ENTRY)[0],
            context=shape_of(state, f"{i}.to_k_lora.down.weight", FACEID_ENTRY)[1],
        )
        for i in range(max(2, count + count % 2))
    ]


def _rank(state: State, part: str) -> int:
    return shape_of(state, "0.to_q_lora.down.weight", part)[0]
