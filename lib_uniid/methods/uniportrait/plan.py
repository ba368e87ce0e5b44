"""UniPortrait's plan of a generation: K/V per site, router keys, maps, scales, LoRA."""

from collections.abc import Sequence
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor, nn

from lib_uniid.attention.branch import Branch
from lib_uniid.attention.deciding import AS_SCORED, Deciding, SharedRouting, leaders_of
from lib_uniid.attention.identities import Gains, PlannedIdentity, stacked
from lib_uniid.attention.identity import IdentityBranch, IdentityKV, Pair
from lib_uniid.attention.plan import Plan
from lib_uniid.attention.routing import Choose, RoutingRule, routing_rule
from lib_uniid.attention.scores import AttentionRouter
from lib_uniid.attention.sites import Site
from lib_uniid.config import Routing
from lib_uniid.errors import CheckpointMismatchError, ConfigError
from lib_uniid.methods.uniportrait.adapter import LoRASet, UniPortraitAdapter
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """How the people of a plan act together.

    ``latent_size`` (height, width) is needed with drawn masks and where scores are smoothed or kept.
    ``lora_set`` None takes the one for the number of people. ``choose`` turns router logits into a routing
    map; None gives each place to the best person. ``rescaled`` gives the identities the norm of the text
    attention, which the official code does not. Without ``trained`` the identities' own attention takes the
    place of the router.
    """

    id_scale: float = 0.7
    routing: Routing = "auto"
    latent_size: tuple[int, int] | None = None
    lora_set: LoRASet | None = None
    lora_scale: float = 1.0
    choose: Choose | None = None
    rescaled: bool = False
    trained: bool = True
    deciding: Deciding = AS_SCORED

    def __post_init__(self) -> None:
        if not 0.0 <= self.id_scale <= 2.0:  # also refuses NaN
            raise ConfigError(f"the identity scale must lie in [0, 2], got {self.id_scale}")
        if not 0.0 <= self.lora_scale <= 2.0:
            raise ConfigError(f"the LoRA scale must lie in [0, 2], got {self.lora_scale}")


def build(
    adapter: UniPortraitAdapter,
    sites: Sequence[Site],
    people: Sequence[PlannedIdentity],
    uncond: Float[Tensor, "k d"] | None,
    settings: PlanSettings | None = None,
) -> Plan | None:
    """Project everything for these sites, on the adapter's device and in its precision.

    ``uncond`` are the null identity's tokens, which the uncond rows read; None when there will be no such
    rows. Differentiable; a host calls it under ``torch.no_grad()``. Returns None when there is nothing to
    inject. LoRA is part of the method and not of the person: it stays on from the first step to the last,
    also at an identity scale of 0, as in the official pipeline.

    Raises:
        CheckpointMismatchError: the adapter is not for this UNet.
        MissingModelError: a file is needed that was not loaded.
        ConfigError: masks and settings do not go together.
    """
    settings = settings or PlanSettings()
    if not people:
        return None
    require_fit(adapter, sites)
    rule = routing_rule(
        [person.mask for person in people], settings.routing, settings.latent_size, settings.choose
    )
    routing = SharedRouting(
        rule=rule,
        leaders=leaders_of(sites),
        deciding=settings.deciding,
        latent_size=settings.latent_size,
    )
    chosen = settings.lora_set or _lora_set(adapter, rule)
    return Plan(
        branches=_identities(adapter, sites, people, uncond, settings, routing),
        merges={site.index: adapter.lora(chosen, site.index) for site in sites},
        merge_scale=settings.lora_scale,
        routing=routing,
    )


def require_fit(adapter: UniPortraitAdapter, sites: Sequence[Site]) -> None:
    """Raise CheckpointMismatchError unless the adapter has exactly these sites, in these widths."""
    if len(adapter.sizes) != len(sites):
        raise CheckpointMismatchError(
            f"the UniPortrait weights are for {len(adapter.sizes)} attention layers and this UNet has "
            f"{len(sites)}; load the checkpoint family that they were made for"
        )
    for site, sizes in zip(sites, adapter.sizes, strict=True):
        if (site.width, site.context) != (sizes.width, sizes.context):
            name = f"{site.index}.to_k_lora"
            raise CheckpointMismatchError(
                f"{name} maps {sizes.context} to {sizes.width} channels and {site.name} needs "
                f"{site.context} to {site.width}; load the checkpoint family that the weights were made for",
                misshapen=[name],
            )


def _lora_set(adapter: UniPortraitAdapter, rule: RoutingRule) -> LoRASet:
    """The single set for one person, and for several with nothing to choose where there is no router file."""
    alone = rule.people <= 1 or (adapter.router is None and not rule.learned)
    return "single" if alone else "multi"


def _identities(
    adapter: UniPortraitAdapter,
    sites: Sequence[Site],
    people: Sequence[PlannedIdentity],
    uncond: Float[Tensor, "k d"] | None,
    settings: PlanSettings,
    routing: SharedRouting,
) -> dict[int, tuple[Branch, ...]]:
    gains, tokens = Gains(people, settings.id_scale), stacked(people)
    branches: dict[int, tuple[Branch, ...]] = {}
    for site in sites:
        if not site.cross:
            continue
        weights = adapter.faceid_site(site.index)
        key, value = (_heads(linear(tokens), site) for linear in (weights.to_k_faceid, weights.to_v_faceid))
        kv = IdentityKV(
            key=key,
            value=value,
            null=None if uncond is None else _pair(weights.to_k_faceid, weights.to_v_faceid, uncond, site),
        )
        if routing.leads(site.index):
            routing.routers[site.index] = (
                adapter.router_site(site.index).of(tokens)
                if settings.trained
                else AttentionRouter(key=kv.key, null=kv.null and kv.null[0])
            )
        branch = IdentityBranch(kv=kv, routing=routing, gains=gains, rescaled=settings.rescaled)
        branches[site.index] = (branch,)
    return branches


def _pair(to_k: nn.Linear, to_v: nn.Linear, tokens: Float[Tensor, "k d"], site: Site) -> Pair:
    key, value = (rearrange(linear(tokens), "k (h c) -> 1 h k c", h=site.heads) for linear in (to_k, to_v))
    return key, value


def _heads(projected: Float[Tensor, "r i k d"], site: Site) -> Float[Tensor, "r h i k c"]:
    return rearrange(projected, "r i k (h c) -> r h i k c", h=site.heads).contiguous()
