"""UniID's plan of a generation: text tokens, K/V per site, maps, scales."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor
from torch.nn.functional import linear

from lib_uniid.attention.branch import Branch
from lib_uniid.attention.deciding import Router, SharedRouting, leaders_of
from lib_uniid.attention.identities import Gains, PlannedIdentity, stacked
from lib_uniid.attention.identity import IdentityBranch, IdentityKV
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.routing import routing_rule
from lib_uniid.attention.scores import AttentionRouter
from lib_uniid.attention.sites import Site
from lib_uniid.errors import CheckpointMismatchError
from lib_uniid.methods.uniid.loading import Projections
from lib_uniid.methods.uniid.settings import PlanSettings
from lib_uniid.methods.uniid.text_tokens import InsertedTokens
from lib_uniid.typing import Float

RouterOf = Callable[[Site, Float[Tensor, "r i k d"]], Router]
"""A trained router of a site, for people with these tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdapterPart:
    """What the adapter branch adds.

    Attributes:
        people: with their adapter tokens.
        null: the tokens of the uncond rows; None in a plan without such rows.
        projections: by the index of the site.
        router: None if there is none: then the people's own attention takes its place.
    """

    people: Sequence[PlannedIdentity]
    null: Float[Tensor, "k d"] | None
    projections: Mapping[int, Projections]
    router: RouterOf | None = None


def build(
    sites: Sequence[Site],
    text: Sequence[PlannedIdentity],
    adapter: AdapterPart | None,
    settings: PlanSettings | None = None,
    notes: Sequence[str] = (),
) -> Plan | None:
    """Project everything for these sites, where the tokens are and in their precision.

    ``text`` are the people with their text tokens, without masks: the text has no places. Differentiable; a
    host calls it under ``torch.no_grad()``. Returns None when there is nothing to inject.

    Raises:
        CheckpointMismatchError: the weights are not for this UNet.
        ConfigError: masks and settings do not go together.
    """
    settings = settings or PlanSettings()
    cross = [site for site in sites if site.cross]
    if not text and adapter is None:
        return None
    if text:
        _require_width(cross, text[0].tokens.shape[-1])
    context = (InsertedTokens(gains=Gains(text, settings.scale, settings.text)),) if text else ()
    if adapter is None:
        return Plan(branches={}, context=context, notes=tuple(notes))
    routing = SharedRouting(
        rule=routing_rule([one.mask for one in adapter.people], settings.routing, settings.latent_size),
        leaders=leaders_of(sites),
        deciding=settings.deciding,
        latent_size=settings.latent_size,
    )
    branches = _identities(cross, adapter, settings, routing)
    return Plan(branches=branches, context=context, routing=routing, notes=tuple(notes))


def _identities(
    sites: Sequence[Site], part: AdapterPart, settings: PlanSettings, routing: SharedRouting
) -> dict[int, tuple[Branch, ...]]:
    gains, tokens = Gains(part.people, settings.scale, settings.adapter), stacked(part.people)
    _require_fit(sites, part.projections, tokens.shape[-1])
    branches: dict[int, tuple[Branch, ...]] = {}
    for site in sites:
        kv = _keys_and_values(site, part, tokens)
        if routing.leads(site.index):
            routing.routers[site.index] = (
                AttentionRouter(key=kv.key, null=kv.null and kv.null[0])
                if part.router is None
                else part.router(site, tokens)
            )
        branch = IdentityBranch(kv=kv, routing=routing, gains=gains, rescaled=settings.rescaled)
        branches[site.index] = (branch,)
    return branches


def _keys_and_values(site: Site, part: AdapterPart, tokens: Float[Tensor, "r i k d"]) -> IdentityKV:
    """Of one site at a time: only its projections are in memory in the precision of the tokens."""
    weights = part.projections[site.index]
    to_k, to_v = weights.to_k.to(tokens), weights.to_v.to(tokens)
    null = None
    if part.null is not None:
        alone = part.null[None, None]
        null = _heads(alone, to_k, site.heads)[:, :, 0], _heads(alone, to_v, site.heads)[:, :, 0]
    return IdentityKV(
        key=_heads(tokens, to_k, site.heads),
        value=_heads(tokens, to_v, site.heads),
        null=null,
    )


def _heads(
    tokens: Float[Tensor, "r i k d"], weight: Float[Tensor, "w d"], heads: int
) -> Float[Tensor, "r h i k c"]:
    return rearrange(linear(tokens, weight), "r i k (h c) -> r h i k c", h=heads).contiguous()


def _require_fit(sites: Sequence[Site], projections: Mapping[int, Projections], tokens: int) -> None:
    if set(projections) != {site.index for site in sites}:
        raise CheckpointMismatchError(
            f"the UniID adapter branch is for {len(projections)} cross-attention layers and this UNet has "
            f"{len(sites)}; load the checkpoint family that it was made for"
        )
    for site in sites:
        found = tuple(projections[site.index].to_k.shape)
        if found != (site.width, tokens):
            name = f"adapter_modules.{site.index}.to_k_ip.weight"
            raise CheckpointMismatchError(
                f"{name} maps {found[1]} to {found[0]} channels and {site.name} needs {tokens} to "
                f"{site.width}; load the checkpoint family that the weights were made for",
                misshapen=[name],
            )


def _require_width(sites: Sequence[Site], width: int) -> None:
    for site in sites:
        if site.context != width:
            raise CheckpointMismatchError(
                f"the UniID text branch makes text of {width} channels and this UNet reads {site.context}; "
                "load the checkpoint family that the weights were made for"
            )
