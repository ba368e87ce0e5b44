"""Everything that is fixed in one generation, computed once: K/V per site, router keys, maps, scales, LoRA.

Identity tokens do not depend on the timestep, so nothing here is made again while sampling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lib_uniid.attention.adapter import LoRA, LoRASet, UniPortraitAdapter
from lib_uniid.attention.branches import IdentityBranch, IdentityKV, ImageBranch, ImageKV, Pair, RouterKeys
from lib_uniid.attention.lora import Deltas
from lib_uniid.attention.math import fold_keys, grids
from lib_uniid.attention.routing import Choose, RoutingRule, routing_rule
from lib_uniid.attention.sites import Site
from lib_uniid.config import Routing
from lib_uniid.errors import CheckpointMismatchError, ConfigError
from lib_uniid.typing import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person of a generation.

    ``tokens`` is ``k d`` for all cond rows, or ``b k d`` with one entry per cond row. ``mask`` is drawn: 1
    where the person may appear, at any resolution with the latent's proportions. The person is there while
    the share of the steps done lies in [start, end).
    """

    tokens: Float[Tensor, "*b k d"]
    weight: float = 1.0
    mask: Float[Tensor, "height width"] | None = None
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight <= 2.0:  # also refuses NaN
            raise ConfigError(f"a person's weight must lie in [0, 2], got {self.weight}")
        if not 0.0 <= self.start < self.end <= 1.0:
            raise ConfigError(
                f"start and end must satisfy 0 <= start < end <= 1, got {self.start} and {self.end}"
            )

    def present(self, progress: float) -> bool:
        """Whether the person is there after this share of the steps."""
        return self.start <= progress and (progress < self.end or self.end == 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePrompt:
    """IP-Adapter's tokens of one picture, those of a zero embedding, and how strongly they act, and where."""

    tokens: Float[Tensor, "k d"]
    uncond: Float[Tensor, "k d"]
    scale: float
    mask: Float[Tensor, "height width"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """How the people of a plan act together.

    ``latent_size`` (height, width) is needed with drawn masks. ``lora_set`` None takes the one for the number
    of people. ``choose`` turns router logits into a routing map; None gives each place to the best person.
    """

    id_scale: float = 0.7
    routing: Routing = "auto"
    latent_size: tuple[int, int] | None = None
    lora_set: LoRASet | None = None
    lora_scale: float = 1.0
    choose: Choose | None = None
    image_prompt: ImagePrompt | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.id_scale <= 2.0:  # also refuses NaN
            raise ConfigError(f"the identity scale must lie in [0, 2], got {self.id_scale}")
        if not 0.0 <= self.lora_scale <= 2.0:
            raise ConfigError(f"the LoRA scale must lie in [0, 2], got {self.lora_scale}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ``injected`` needs; ``identity``, ``image`` and ``lora`` go by the index of the site.

    ``deltas`` keeps the weight changes that the LoRA amounts to, from the first pass to the last.

    LoRA is part of the method and not of the person: it stays on from the first step to the last, also at an
    identity scale of 0, as in the official pipeline.
    """

    people: tuple[Person, ...]
    settings: PlanSettings
    rule: RoutingRule
    identity: Mapping[int, IdentityKV]
    image: Mapping[int, ImageKV]
    image_maps: Mapping[int, Float[Tensor, " n"]] | None
    lora: Mapping[int, Mapping[str, LoRA]]
    deltas: Deltas = field(default_factory=Deltas)

    @classmethod
    def build(
        cls,
        adapter: UniPortraitAdapter,
        sites: Sequence[Site],
        people: Sequence[Person],
        uncond: Float[Tensor, "k d"] | None,
        settings: PlanSettings | None = None,
    ) -> "Plan | None":
        """Project everything for these sites, on the adapter's device and in its precision.

        ``uncond`` are nobody's tokens, which the uncond rows read; None when there will be no such rows.
        Differentiable; a host calls it under ``torch.no_grad()``. Returns None when there is nothing to
        inject. Raises CheckpointMismatchError when the adapter is not for this UNet, MissingModelError when a
        file is needed that was not loaded, ConfigError when masks and settings do not go together.
        """
        settings = settings or PlanSettings()
        prompt = settings.image_prompt
        if not people and prompt is None:
            return None
        require_fit(adapter, sites)
        masks = [person.mask for person in people]
        rule = routing_rule(masks, settings.routing, settings.latent_size, settings.choose)
        chosen = settings.lora_set or _lora_set(adapter, rule)
        cross = [site for site in sites if site.cross]
        return cls(
            people=tuple(people),
            settings=settings,
            rule=rule,
            identity=_identities(adapter, cross, _stack(people), uncond, rule) if people else {},
            image={s.index: _image(adapter, s, prompt) for s in cross} if prompt else {},
            image_maps=_image_maps(prompt, settings.latent_size) if prompt else None,
            lora={s.index: adapter.lora(chosen, s.index) for s in sites} if people else {},
        )

    def gains(self, progress: float) -> tuple[float, ...]:
        """How strong each person is after this share of the steps."""
        scale = self.settings.id_scale
        return tuple(scale * person.weight if person.present(progress) else 0.0 for person in self.people)

    def identity_branch(self, index: int, gains: tuple[float, ...], query: Tensor) -> IdentityBranch:
        """The identity attention of a site, ready for queries like this one."""
        return IdentityBranch(self.identity[index], self.rule, gains, query)

    def image_branch(self, index: int, query: Tensor) -> ImageBranch:
        """The image prompt's attention of a site, ready for queries like this one."""
        mask = None if self.image_maps is None else self.image_maps[query.shape[1]]
        return ImageBranch(self.image[index], mask, query)


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
    tokens: Float[Tensor, "r i k d"],
    uncond: Float[Tensor, "k d"] | None,
    rule: RoutingRule,
) -> dict[int, IdentityKV]:
    kvs: dict[int, IdentityKV] = {}
    for site in sites:
        weights = adapter.faceid_site(site.index)
        key, value = (_heads(linear(tokens), site) for linear in (weights.to_k_faceid, weights.to_v_faceid))
        kvs[site.index] = IdentityKV(
            key=key,
            value=value,
            nobody=None if uncond is None else _pair(weights.to_k_faceid, weights.to_v_faceid, uncond, site),
            router=_router(adapter, site, tokens) if rule.learned else None,
        )
    return kvs


def _router(adapter: UniPortraitAdapter, site: Site, tokens: Float[Tensor, "r i k d"]) -> RouterKeys:
    router = adapter.router_site(site.index)
    theta = router.to_q_router
    keys = fold_keys(router.keys(tokens), theta.second.weight)
    return RouterKeys(weight=theta.first.weight, bias=theta.first.bias, keys=keys)


def _stack(people: Sequence[Person]) -> Float[Tensor, "r i k d"]:
    shapes = {tuple(person.tokens.shape) for person in people}
    if len(shapes) > 1:
        raise ConfigError(f"all people must have tokens of one shape, got {sorted(shapes)}; make them alike")
    tokens = rearrange([person.tokens for person in people], "i ... k d -> ... i k d")
    return tokens if tokens.ndim == 4 else tokens[None]


def _image(adapter: UniPortraitAdapter, site: Site, prompt: ImagePrompt) -> ImageKV:
    weights = adapter.image_site(site.index)
    return ImageKV(
        cond=_pair(weights.to_k_ip, weights.to_v_ip, prompt.tokens, site),
        uncond=_pair(weights.to_k_ip, weights.to_v_ip, prompt.uncond, site),
        scale=prompt.scale,
    )


def _image_maps(
    prompt: ImagePrompt, latent_size: tuple[int, int] | None
) -> dict[int, Float[Tensor, " n"]] | None:
    if prompt.mask is None:
        return None
    if latent_size is None:
        raise ConfigError("a mask of the image prompt needs the latent size; give height and width")
    mask, sizes = prompt.mask[None, None], grids(*latent_size)
    return {
        tokens: F.interpolate(mask, size=grid, mode="nearest").flatten() for tokens, grid in sizes.items()
    }


def _pair(to_k: nn.Linear, to_v: nn.Linear, tokens: Float[Tensor, "k d"], site: Site) -> Pair:
    key, value = (rearrange(linear(tokens), "k (h c) -> 1 h k c", h=site.heads) for linear in (to_k, to_v))
    return key, value


def _heads(projected: Float[Tensor, "r i k d"], site: Site) -> Float[Tensor, "r h i k c"]:
    return rearrange(projected, "r i k (h c) -> r h i k c", h=site.heads).contiguous()
