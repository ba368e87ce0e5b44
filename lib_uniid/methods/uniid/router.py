"""The trained router of UniID: this project's own addition, in the form of UniPortrait's (section 3.3).

It has one set of layers for each transformer, at the transformer's first cross-attention layer, the leader.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from lib_uniid.attention.deciding import leaders_of
from lib_uniid.attention.sites import Site
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.methods.site_router import RouterLayers, SiteRouter
from lib_uniid.typing import Float
from lib_uniid.weights import load_exactly, shape_of, without_values

PART = "UniID router"


class LeaderRouter(RouterLayers):
    """The router at one leader ``width`` wide, for ``tokens`` tokens a person of ``context`` channels."""

    def __init__(self, *, width: int, context: int, tokens: int, inner: int | None = None) -> None:
        super().__init__()
        self.add_router(width=width, context=context, tokens=tokens, inner=inner)


class Routers(nn.ModuleDict):
    """One router for each leader, by the leader's number among the attention layers."""

    @classmethod
    def for_sites(cls, sites: Sequence[Site], tokens: int) -> "Routers":
        """Begin training for a UNet."""
        leaders = {*leaders_of(sites).values()}
        return cls(
            {
                str(site.index): LeaderRouter(width=site.width, context=site.context, tokens=tokens)
                for site in sites
                if site.index in leaders
            }
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "Routers":
        """Build from a file's tensors, which are taken over, not copied, in their own precision.

        Raises CheckpointMismatchError naming the tensors that are missing, unexpected or of a wrong shape.
        """
        leaders = sorted({int(name.partition(".")[0]) for name in state})
        with without_values():
            routers = cls(
                {
                    str(leader): LeaderRouter(
                        width=shape_of(state, f"{leader}.to_q_router.2.weight", PART)[0],
                        inner=shape_of(state, f"{leader}.to_q_router.2.weight", PART)[1],
                        context=shape_of(state, f"{leader}.to_k_router.0.weight", PART)[1],
                        tokens=shape_of(state, f"{leader}.aggr_router.weight", PART)[1],
                    )
                    for leader in leaders
                }
            )
        load_exactly(routers, state, PART)
        return routers

    def at(self, leader: int) -> LeaderRouter:
        """The layers of one leader."""
        found = self[str(leader)]
        assert isinstance(found, LeaderRouter)
        return found

    def of(self, site: Site, tokens: Float[Tensor, "r i k d"]) -> SiteRouter:
        """The router of a leader for people with these tokens.

        Raises CheckpointMismatchError if it is for another UNet or other tokens.
        """
        if str(site.index) not in self:
            raise CheckpointMismatchError(
                f"the UniID router has no layers for {site.name} (number {site.index}); load the checkpoint "
                "family that it was made for"
            )
        layers = self.at(site.index)
        width = layers.to_q_router.second.out_features
        if width != site.width:
            name = f"router_modules.{site.index}.to_q_router.2.weight"
            raise CheckpointMismatchError(
                f"{name} is for layers of {width} channels and {site.name} has {site.width}; load the "
                "checkpoint family that the router was made for",
                misshapen=[name],
            )
        return layers.of(tokens)
