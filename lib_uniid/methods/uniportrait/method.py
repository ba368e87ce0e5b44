"""UniPortrait from its files to plans."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lib_uniid.attention.deciding import AS_SCORED, deciding
from lib_uniid.attention.identities import PlannedIdentity
from lib_uniid.attention.plan import Plan, PlanOptions
from lib_uniid.attention.sites import Site
from lib_uniid.checkpoints.folder import ModelFolder
from lib_uniid.encoders.features import IDFeatures
from lib_uniid.methods.method import RequestedIdentity
from lib_uniid.methods.mixing import mix
from lib_uniid.methods.uniportrait.adapter import UniPortraitAdapter
from lib_uniid.methods.uniportrait.loading import load_weights
from lib_uniid.methods.uniportrait.plan import PlanSettings, build
from lib_uniid.methods.uniportrait.settings import IDENTITY_SCALE, STRUCTURE_SCALE
from lib_uniid.methods.uniportrait.tokens import Resampler, identity_tokens, uncond_tokens
from lib_uniid.typing import Float


class UniPortrait:
    """A :class:`lib_uniid.methods.method.Method`, in float32 on the CPU: it works once per generation."""

    def __init__(self, resampler: Resampler, adapter: UniPortraitAdapter) -> None:
        self.resampler, self.adapter = resampler, adapter

    @classmethod
    def open(cls, folder: ModelFolder, notify: Callable[[str], None]) -> "UniPortrait":
        """From the published files; several people need the router's."""
        notify("loading UniPortrait")
        router = folder.find("router") if folder.look_up("router") else None
        weights = load_weights(folder.find("faceid"), router)
        resampler = Resampler.from_state_dict(weights.resampler)
        adapter = UniPortraitAdapter.from_state_dicts(weights.faceid, weights.router)
        return cls(resampler.float().requires_grad_(False), adapter.float().requires_grad_(False))

    @torch.no_grad()
    def plan(
        self,
        sites: Sequence[Site],
        people: Sequence[RequestedIdentity],
        null: Callable[[], IDFeatures],
        options: PlanOptions,
    ) -> Plan | None:
        if not people:
            return None
        scales = [_structure_scale(one, len(people)) for one in people]
        planned = [
            PlannedIdentity(
                tokens=self._tokens(one, scale),
                weight=one.settings.weight,
                mask=None if one.settings.mask is None else torch.as_tensor(one.settings.mask),
                start=one.settings.start,
                end=one.settings.end,
            )
            for one, scale in zip(people, scales, strict=True)
        ]
        # The uncond rows have one null identity for all people, so they get the mean of the structure scales.
        uncond = self._uncond(null(), sum(scales) / len(scales))
        settings = PlanSettings(
            id_scale=IDENTITY_SCALE.of(options.identity_scale, len(people)),
            routing=options.routing,
            latent_size=options.latent_size,
            rescaled=options.rescaling == "on",
            deciding=deciding(options.order, AS_SCORED),
        )
        return build(self.adapter, sites, planned, uncond, settings)

    def _tokens(self, one: RequestedIdentity, scale: float) -> Float[Tensor, "k d"]:
        master, *others = (
            identity_tokens(self.resampler, features["intrinsic"], features.get("structure"), scale)
            for features in (one.features, *(mixed for mixed, _ in one.mixed))
        )
        return mix(master, others, [share for _, share in one.mixed])

    def _uncond(self, null: IDFeatures, scale: float) -> Float[Tensor, "k d"]:
        return uncond_tokens(self.resampler, len(null["intrinsic"]), null.get("structure"), scale)


def _structure_scale(one: RequestedIdentity, people: int) -> float:
    every = (one.features, *(mixed for mixed, _ in one.mixed))
    if one.settings.structure_scale is None and any(features.get("structure") is None for features in every):
        return 0.0
    return STRUCTURE_SCALE.of(one.settings.structure_scale, people)
