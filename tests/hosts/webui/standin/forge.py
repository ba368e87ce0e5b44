"""Forge: rows in chunks named by ``cond_or_uncond``, uncond first; a UNet patched through clones."""

import copy
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.hosts.webui.standin.processing import AnyDenoiser, Host, Processing, Subprompts, combine
from tests.hosts.webui.standin.script_api import Callbacks, CFGDenoiserParams
from tests.hosts.webui.standin.texts import XLTexts, cat, keywords, repeated, stack

COND, UNCOND = 0, 1
Loaded = tuple[tuple[str, float], ...]


class KModel(nn.Module):
    """The UNet with what was merged into it and what it was before."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.diffusion_model = unet
        self.merged: tuple[Any, ...] = ()
        self.backup: dict[str, Tensor] = {}


class UnetPatcher:
    """Clones share the model; their options are copied deeply."""

    def __init__(self, model: KModel) -> None:
        self.model = model
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.lora_patches: dict[tuple[Any, ...], dict[str, Any]] = {}

    def clone(self) -> "UnetPatcher":
        other = UnetPatcher(self.model)
        other.model_options = copy.deepcopy(self.model_options)
        other.lora_patches = dict(self.lora_patches)
        return other

    def load(self) -> None:
        """Merge what this clone wants, anew only when the names differ from what is merged."""
        model, wanted = self.model, tuple(self.lora_patches)
        if model.merged == wanted:
            return
        parameters = dict(model.named_parameters())
        with torch.inference_mode():
            for name, weight in model.backup.items():
                parameters[name].data.copy_(weight)
            model.backup.clear()
            for (_, strength, strength_model, _), patches in self.lora_patches.items():
                for name, patch in patches.items():
                    weight = parameters[name].data
                    model.backup.setdefault(name, weight.clone())
                    weight.copy_(weight * strength_model + strength * _change(patch))
        model.merged = wanted

    def set_model_unet_function_wrapper(self, function: Callable[..., Any]) -> None:
        self.model_options["model_function_wrapper"] = function

    def add_patches(
        self,
        *,
        filename: str,
        patches: dict[str, Any],
        strength_patch: float = 1.0,
        strength_model: float = 1.0,
        online_mode: bool = False,
    ) -> list[str]:
        names = dict(self.model.named_parameters())
        fitting = {name: patch for name, patch in patches.items() if name in names}
        self.lora_patches[filename, strength_patch, strength_model, online_mode] = fitting
        return list(fitting)


def load_model_gpu(patcher: UnetPatcher) -> None:
    """The host's function of that name."""
    patcher.load()


def _change(patch: Any) -> Tensor:
    kind, values = patch
    if kind == "diff":
        return values[0]
    up, down, alpha, mid, dora = values
    assert mid is None
    assert dora is None
    return (up.float() @ down.float()) * (1.0 if alpha is None else alpha / down.shape[0])


class Forge(Host):
    """The host around a UNet. Before its first generation the model is none yet."""

    patcher = UnetPatcher
    zeroing = True

    def __init__(self, callbacks: Callbacks, unet: nn.Module, xl: bool = False) -> None:
        super().__init__(callbacks)
        self.texts = XLTexts(own_weights=True, zeroing=self.zeroing) if xl else None
        self.sd_model: Any = SimpleNamespace()
        self.known: dict[str, dict[str, Any]] = {}  # user LoRAs
        self.networks: Loaded = ()
        self.short_of_memory = False
        self.refiner: tuple[int, nn.Module] | None = None
        self._unet = unet

    @property
    def unet(self) -> nn.Module:
        return self._unet

    def load_model(self) -> None:
        if not hasattr(self.sd_model, "forge_objects"):
            self.set_model(self._unet)

    def set_model(self, unet: nn.Module) -> None:
        clip = SimpleNamespace(cond_stage_model=self.texts, patcher=self.patcher(KModel(nn.Module())))
        objects = SimpleNamespace(unet=self.patcher(KModel(unet)), clip=clip)
        self.sd_model = SimpleNamespace(
            get_learned_conditioning=self.read,
            text_processing_engine_l=self.texts,
            forge_objects=copy.copy(objects),
            forge_objects_original=objects,
            forge_objects_after_applying_lora=copy.copy(objects),
        )

    def begin_batch(self) -> None:
        self.sd_model.forge_objects = copy.copy(self.sd_model.forge_objects_original)

    def activate(self, networks: Loaded) -> None:
        self.networks = networks
        patched = self.sd_model.forge_objects_original.unet.clone()
        for name, strength in networks:
            patched.add_patches(filename=name, patches=self.known[name], strength_patch=strength)
        self.sd_model.forge_objects_after_applying_lora = SimpleNamespace(
            unet=patched, clip=self.sd_model.forge_objects_original.clip
        )
        self._reset()

    def _reset(self) -> None:
        self.sd_model.forge_objects = copy.copy(self.sd_model.forge_objects_after_applying_lora)

    @contextmanager
    def sampling_mode(self) -> Generator[None]:
        with torch.inference_mode():
            yield

    def before_sampling(self, p: Processing, **given: Any) -> None:
        if p.cfg_scale == 1.0:
            given["uc"] = None
        if p.is_hr_pass:  # twice, with the patches thrown away in between
            p.run("process_before_every_sampling", **given)
        self._reset()
        p.run("process_before_every_sampling", **given)

    def new_denoiser(self, p: Processing) -> AnyDenoiser:
        load_model_gpu(self.sd_model.forge_objects.unet)
        return Denoiser(self, p)


class Denoiser(AnyDenoiser):
    """One evaluation: the callback sees the plain batch; then chunks of one picture row each are joined."""

    def __call__(
        self, x: Tensor, sigma: float, step: int, conds: list[Subprompts], unconds: list[Any]
    ) -> Tensor:
        host = self.host
        host.count_evaluation()
        if host.refiner and step == host.refiner[0]:
            host.set_model(host.refiner[1])
            load_model_gpu(host.sd_model.forge_objects.unet)
        guided = self.p.cfg_scale != 1.0
        params = CFGDenoiserParams(
            x=x,
            sigma=sigma,
            sampling_step=max(0, step - 1),
            total_sampling_steps=self.total_steps,
            text_cond=stack([sub for cond in conds for sub in cond]),
            text_uncond=stack(unconds) if guided else None,
            denoiser=self,
        )
        host.callbacks.call("cfg_denoiser", params)
        self.step = step + 1
        entries = [(COND, stack([cond[j] for cond in conds])) for j in range(len(conds[0]))]
        if guided:
            entries = [(UNCOND, stack(unconds)), *entries]
        outs = calc_cond_uncond_batch(host, x, sigma, entries)
        found = [out for (kind, _), out in zip(entries, outs, strict=True) if kind == COND]
        if not guided:
            return found[0]
        return combine(found, outs[0], self.p.cfg_scale)


def calc_cond_uncond_batch(
    host: Forge, x: Tensor, sigma: float, entries: list[tuple[int, Any]]
) -> list[Tensor]:
    """One output per entry; entries go into one call where their token counts can be brought together."""
    patcher = host.sd_model.forge_objects.unet
    outs: dict[int, Tensor] = {}
    left = list(range(len(entries)))
    while left:
        first = left[0]
        joined = [i for i in left if i == first or (not host.short_of_memory and _joins(entries, first, i))]
        tokens = math.lcm(*(entries[i][1].shape[1] for i in joined))
        context = cat([repeated(entries[i][1], tokens // entries[i][1].shape[1]) for i in joined])
        options = copy.copy(patcher.model_options["transformer_options"])
        options["cond_or_uncond"] = [entries[i][0] for i in joined]
        call: dict[str, Any] = {
            "input": torch.cat([x] * len(joined)),
            "timestep": torch.full((len(joined) * len(x),), sigma),
            "c": {**_conditions(context), "transformer_options": options},
            "cond_or_uncond": options["cond_or_uncond"],
        }
        apply_model = _apply_model(host, patcher)
        wrapper = patcher.model_options.get("model_function_wrapper")
        if wrapper is None:
            out = apply_model(call["input"], call["timestep"], **call["c"])
        else:
            out = wrapper(apply_model, call)
        outs.update(zip(joined, out.chunk(len(joined)), strict=True))
        left = [i for i in left if i not in joined]
    return [outs[i] for i in range(len(entries))]


def _conditions(context: Any) -> dict[str, Tensor]:
    called = keywords(context)
    return {"c_crossattn": called.pop("context"), **called}


def _joins(entries: list[tuple[int, Any]], one: int, other: int) -> bool:
    """Token counts whose least common multiple is at most four times the smaller one."""
    a, b = entries[one][1].shape[1], entries[other][1].shape[1]
    return math.lcm(a, b) <= 4 * min(a, b)


def _apply_model(host: Forge, patcher: UnetPatcher) -> Callable[..., Tensor]:
    def apply_model(
        x: Tensor, timestep: Tensor, c_crossattn: Tensor, transformer_options: Any = None, **c: Any
    ) -> Tensor:
        sigma = float(timestep[0])
        scaled, timesteps = host.scaled(x, sigma)
        return x - sigma * patcher.model.diffusion_model(scaled, timesteps, context=c_crossattn, **c)

    return apply_model
