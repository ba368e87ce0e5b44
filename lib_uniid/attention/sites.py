"""The attention layers of a UNet, in the order in which the published adapters number them.

Found by name, because ``named_modules()`` has the middle block elsewhere: down, up, then mid; within a
transformer block first ``attn1`` (self, even index), then ``attn2`` (cross, odd index).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from torch import nn

from lib_uniid.attention.compiled import WRAPPED, original
from lib_uniid.bases import UNetShape
from lib_uniid.errors import ConfigError, HostTooOldError

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out")
"""The linear layers of a site, by the names that adapters use."""

STAGES = {
    "down_blocks": 0,
    "input_blocks": 0,
    "up_blocks": 1,
    "output_blocks": 1,
    "mid_block": 2,
    "middle_block": 2,
}

DIFFUSERS = re.compile(
    r"(?P<stage>down_blocks|up_blocks|mid_block)(\.(?P<block>\d+))?\.attentions\.(?P<layer>\d+)"
    r"\.transformer_blocks\.(?P<inner>\d+)\.attn(?P<kind>[12])"
)
LDM = re.compile(
    r"(?P<stage>input_blocks|output_blocks|middle_block)(\.(?P<block>\d+))?\.(?P<layer>1)"
    r"\.transformer_blocks\.(?P<inner>\d+)\.attn(?P<kind>[12])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One attention layer: ``index`` counts as in the adapter files, ``name`` is its path in ``unet``."""

    index: int
    name: str
    heads: int
    to_q: nn.Linear
    to_k: nn.Linear
    to_v: nn.Linear
    to_out: nn.Linear
    attention: Any = field(repr=False, compare=False)
    unet: nn.Module = field(repr=False, compare=False)

    @property
    def cross(self) -> bool:
        """Whether it reads the text (``attn2``)."""
        return self.index % 2 == 1

    @property
    def transformer(self) -> str:
        """The path of the transformer whose blocks it is among."""
        return self.name.partition(".transformer_blocks.")[0]

    @property
    def width(self) -> int:
        """Channels of its queries."""
        return self.to_q.out_features

    @property
    def context(self) -> int:
        """Channels of what its keys and values are made from."""
        return self.to_k.in_features

    def require_unfused(self) -> None:
        """``ConfigError`` where diffusers has fused the projections: it then reads copies of their weights.

        The LoRA, which is merged into the projections, would not be used.
        """
        processor = getattr(self.attention, "processor", None)  # the flag of the layer stays after unfusing
        if type(processor).__name__.startswith("Fused"):
            raise ConfigError(
                f"the projections of the UNet are fused (at {self.name}), and a LoRA cannot be added; "
                "call unfuse_qkv_projections() of the UNet first"
            )

    @property
    def projections(self) -> dict[str, nn.Linear]:
        """Its four linear layers under their official names."""
        return {name: getattr(self, name) for name in PROJECTIONS}


def find_sites(unet: nn.Module) -> tuple[Site, ...]:
    """Find every attention layer of a diffusers UNet2DConditionModel or an ldm UNetModel.

    Compiled ones are looked through. Raises HostTooOldError when there is none under the names of either.
    """
    unet = original(unet)
    found: list[tuple[tuple[int, ...], str, nn.Module]] = []
    for name, module in cast(Iterator[tuple[str, nn.Module]], unet.named_modules()):
        known = name.replace(f"{WRAPPED}.", "")
        if match := DIFFUSERS.fullmatch(known) or LDM.fullmatch(known):
            found.append((_place(match), name, module))
    if not found:
        raise HostTooOldError(
            f"{type(unet).__name__} has no attention layers named as in Stable Diffusion's UNet; "
            "load a checkpoint with such a UNet"
        )
    found.sort(key=lambda entry: entry[0])
    return tuple(_site(index, name, module, unet) for index, (_, name, module) in enumerate(found))


def shape_of(sites: Sequence[Site]) -> UNetShape:
    """The shape of the cross-attention of a UNet with these sites."""
    cross = [site for site in sites if site.cross]
    return UNetShape(
        widths=tuple(site.width for site in cross), context=max((site.context for site in cross), default=0)
    )


def _place(match: re.Match[str]) -> tuple[int, ...]:
    block, layer, inner, kind = (int(match[group] or 0) for group in ("block", "layer", "inner", "kind"))
    return STAGES[match["stage"]], block, layer, inner, kind


def _site(index: int, name: str, attention: Any, unet: nn.Module) -> Site:
    return Site(
        index=index,
        name=name,
        heads=attention.heads,
        to_q=attention.to_q,
        to_k=attention.to_k,
        to_v=attention.to_v,
        to_out=attention.to_out[0],
        attention=attention,
        unet=unet,
    )
