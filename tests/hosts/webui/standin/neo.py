"""Forge Neo where it differs from Forge: the patches that it merges, shallow clones, one hook per pass."""

import uuid
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.hosts.webui.standin.forge import Forge, KModel, UnetPatcher
from tests.hosts.webui.standin.processing import Processing

Patches = dict[str, list[tuple[float, Any, float]]]


class LoRAAdapter:
    """The class that patches of two factors must be of; reForge has one of the same make."""

    def __init__(self, loaded_keys: set[str], weights: tuple[Any, ...]) -> None:
        self.loaded_keys, self.weights = loaded_keys, weights

    def change(self) -> Tensor:
        up, down, alpha, mid, dora, shape = self.weights
        assert mid is dora is shape is None
        return (up.float() @ down.float()) * (1.0 if alpha is None else alpha / down.shape[0])


LORA_MODULE = SimpleNamespace(weight_adapter=SimpleNamespace(LoRAAdapter=LoRAAdapter))
"""``backend.patcher.lora``."""


def merged(weight: Tensor, key: str, patches: list[tuple[float, Any, float]]) -> Tensor:
    """A weight with patches in it; a form that is not known raises, as in the host."""
    for strength, patch, strength_model in patches:
        weight = weight * strength_model
        if isinstance(patch, LoRAAdapter):
            weight = weight + strength * patch.change()
            continue
        kind, values = ("diff", patch) if len(patch) == 1 else patch
        if kind == "set":
            weight = values[0].clone()
        elif kind == "diff":
            weight = weight + strength * values[0]
        else:
            raise ValueError(f'"{key}" of type "{kind}" is not recognized...')
    return weight


class NeoPatcher(UnetPatcher):
    """Dicts and lists are copied with a clone, their values are not; each change of patches has a number."""

    def __init__(self, model: KModel) -> None:
        super().__init__(model)
        self.patches: Patches = {}
        self.patches_uuid = uuid.uuid4()

    def clone(self) -> "NeoPatcher":
        other = NeoPatcher(self.model)
        other.model_options = _copied(self.model_options)
        other.patches = {key: list(patches) for key, patches in self.patches.items()}
        other.patches_uuid = self.patches_uuid
        return other

    def add_patches(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        patches: dict[str, Any],
        strength_patch: float = 1.0,
        strength_model: float = 1.0,
        *,
        filename: str | None = None,
        online_mode: bool | None = None,
    ) -> list[str]:
        names = self.model.state_dict().keys()
        fitting = [name for name in patches if name in names]
        for name in fitting:
            self.patches.setdefault(name, []).append((strength_patch, patches[name], strength_model))
        self.patches_uuid = uuid.uuid4()
        return fitting

    def load(self) -> None:
        """Put the weights of before back and set new ones, whenever the number is another."""
        model = self.model
        if model.merged == (self.patches_uuid,):
            return
        for name, weight in model.backup.items():
            _set(model, name, weight)
        model.backup.clear()
        with torch.inference_mode():
            for name, patches in self.patches.items():
                before = model.get_parameter(name)
                changed = merged(before.detach().clone(), name, patches)
                model.backup[name] = before
                _set(model, name, nn.Parameter(changed, requires_grad=False))
        model.merged = (self.patches_uuid,)


class Neo(Forge):
    """The host around a UNet."""

    patcher = NeoPatcher
    zeroing = False

    def before_sampling(self, p: Processing, **given: Any) -> None:
        if p.cfg_scale == 1.0:
            given["uc"] = None
        self._reset()
        p.run("process_before_every_sampling", **given)


def _set(model: nn.Module, name: str, weight: Any) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, weight)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return [_copied(one) for one in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]
