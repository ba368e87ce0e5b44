"""AUTOMATIC1111: rows laid out cond first, passed in several ways; LoRAs by an extension."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.hosts.webui.standin.processing import AnyDenoiser, Host, Processing, Subprompts, combine
from tests.hosts.webui.standin.script_api import Callbacks, CFGDenoiserParams
from tests.hosts.webui.standin.texts import XLTexts, cat, keywords, rows, stack

Loaded = tuple[tuple[str, float], ...]
LAYER_NAME = "network_layer_name"


@dataclass
class Options:
    """Settings that decide how the UNet is called."""

    batch_cond_uncond: bool = True
    uncond_from: float = 0.0  # share of the steps without uncond rows
    lora_functional: bool = False


class Networks:
    """The host's Lora extension: patches ``nn.Linear.forward`` and keeps its state on the layers."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.known: dict[str, dict[str, Tensor]] = {}  # weight changes by network and layer
        self.loaded: Loaded = ()

    @contextmanager
    def installed(self) -> Generator[None]:
        original = nn.Linear.forward

        def forward(layer: nn.Linear, x: Tensor) -> Tensor:
            if not hasattr(layer, LAYER_NAME):
                return original(layer, x)
            if self.options.lora_functional:
                return self._functional(layer, x, original)
            self._apply(layer)
            return original(layer, x)

        nn.Linear.forward = forward  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            nn.Linear.forward = original

    def name_layers(self, unet: nn.Module) -> None:
        for name, module in unet.named_modules():
            if isinstance(module, nn.Linear):
                setattr(module, LAYER_NAME, name)

    def add(self, name: str, unet: nn.Module, seed: int) -> None:
        """A network that changes every attention projection."""
        generator = torch.Generator().manual_seed(seed)
        self.known[name] = {
            layer: 0.05 * torch.randn(module.weight.shape, generator=generator)
            for layer, module in unet.named_modules()
            if isinstance(module, nn.Linear) and ".attn" in layer
        }

    def _change(self, layer: Any, name: str) -> Tensor | None:
        return self.known[name].get(layer.network_layer_name)

    def _restore(self, layer: Any) -> None:
        backup = getattr(layer, "network_weights_backup", None)
        if backup is not None:
            with torch.inference_mode():
                layer.weight.data.copy_(backup)

    def _apply(self, layer: Any) -> None:
        current = getattr(layer, "network_current_names", ())
        backup = getattr(layer, "network_weights_backup", None)
        if backup is None and self.loaded:
            if current:
                raise RuntimeError("no backup of a weight that is changed")
            layer.network_weights_backup = layer.weight.detach().clone()
        if current == self.loaded:
            return
        self._restore(layer)
        with torch.inference_mode():
            for name, strength in self.loaded:
                change = self._change(layer, name)
                if change is not None:
                    layer.weight.data.add_(strength * change)
        layer.network_current_names = self.loaded

    def _functional(self, layer: Any, x: Tensor, original: Any) -> Tensor:
        if not self.loaded:
            return original(layer, x)
        self._restore(layer)
        layer.network_current_names, layer.network_weights_backup = (), None
        y = original(layer, x)
        for name, strength in self.loaded:
            change = self._change(layer, name)
            if change is not None:
                y = y + strength * nn.functional.linear(x, change)
        return y


class A1111(Host):
    """The host around a UNet."""

    def __init__(self, callbacks: Callbacks, unet: nn.Module, xl: bool = False) -> None:
        super().__init__(callbacks)
        self.texts = XLTexts() if xl else None
        self.options = Options()
        self.networks = Networks(self.options)
        self.networks.name_layers(unet)
        self.refiner: tuple[int, nn.Module] | None = None  # from which step
        self.refiner_weights: tuple[int, dict[str, Tensor]] | None = None  # into the same UNet
        self.switch_networks: tuple[int, Loaded] | None = None  # by another extension, at which step
        self.sd_model = self.model_of(unet)

    def model_of(self, unet: nn.Module) -> Any:
        """As ``shared.sd_model`` has it."""
        model = SimpleNamespace(diffusion_model=unet)
        texts = SimpleNamespace(get_learned_conditioning=self.read, cond_stage_model=self.texts)
        return SimpleNamespace(model=model, is_sd1=self.texts is None, **vars(texts))

    @property
    def unet(self) -> nn.Module:
        return self.sd_model.model.diffusion_model

    def load_model(self) -> None:
        pass

    def set_model(self, unet: nn.Module) -> None:
        self.sd_model = self.model_of(unet)

    def load_checkpoint(self, weights: dict[str, Tensor]) -> None:
        """Another checkpoint of the same configuration: the UNet stays, and the Lora extension forgets."""
        self.unet.load_state_dict(weights)
        for module in self.unet.modules():
            if hasattr(module, LAYER_NAME):
                module.__dict__.update(network_current_names=(), network_weights_backup=None)
        self.sd_model.sd_checkpoint_info = object()

    def begin_batch(self) -> None:
        pass

    def activate(self, networks: Loaded) -> None:
        self.networks.loaded = networks

    @contextmanager
    def sampling_mode(self) -> Generator[None]:
        with torch.no_grad():
            yield

    def before_sampling(self, p: Processing, **given: Any) -> None:
        p.run("process_before_every_sampling", **given)

    def new_denoiser(self, p: Processing) -> AnyDenoiser:
        return Denoiser(self, p)


class Denoiser(AnyDenoiser):
    """One evaluation: all cond rows, then all uncond rows; passed to the UNet in that order."""

    def __call__(
        self, x: Tensor, sigma: float, step: int, conds: list[Subprompts], unconds: list[Any]
    ) -> Tensor:
        host = self.host
        host.count_evaluation()
        if host.refiner and step == host.refiner[0]:
            host.set_model(host.refiner[1])
        if host.refiner_weights and step == host.refiner_weights[0]:
            host.load_checkpoint(host.refiner_weights[1])
        counts, pictures = [len(cond) for cond in conds], len(conds)
        latents = [x[i] for i, count in enumerate(counts) for _ in range(count)]
        params = CFGDenoiserParams(
            x=torch.stack([*latents, *x]),
            sigma=sigma,
            sampling_step=max(0, step - 1),
            total_sampling_steps=self.total_steps,
            text_cond=stack([sub for cond in conds for sub in cond]),
            text_uncond=stack(unconds),
            denoiser=self,
        )
        host.callbacks.call("cfg_denoiser", params)
        if host.switch_networks and step == host.switch_networks[0]:
            host.networks.loaded = host.switch_networks[1]
        self.step = step + 1
        skip = step < host.options.uncond_from * self.total_steps
        x_in = params.x[:-pictures] if skip else params.x
        out = self._call(x_in, sigma, params.text_cond, None if skip else params.text_uncond, pictures)
        starts = [sum(counts[:i]) for i in range(pictures)]
        if skip:
            out = torch.cat([out, torch.stack([out[start] for start in starts])])
        return torch.stack(
            [
                combine(list(out[start : start + count]), out[i - pictures], self.p.cfg_scale)
                for i, (start, count) in enumerate(zip(starts, counts, strict=True))
            ]
        )

    def _call(self, x: Tensor, sigma: float, cond: Any, uncond: Any | None, pictures: int) -> Tensor:
        batched = self.host.options.batch_cond_uncond
        if uncond is None or cond.shape[1] == uncond.shape[1]:
            context = cond if uncond is None else cat([cond, uncond])
            return self._chunks(x, sigma, context, len(x) if batched else pictures)
        parts = [
            self._chunks(x[: cond.shape[0]], sigma, cond, 2 * pictures if batched else pictures),
            self._chunks(x[cond.shape[0] :], sigma, uncond, uncond.shape[0]),
        ]
        return torch.cat(parts)

    def _chunks(self, x: Tensor, sigma: float, context: Any, size: int) -> Tensor:
        places: Sequence[slice] = [slice(a, a + size) for a in range(0, len(x), size)]
        return torch.cat([self._predict(x[place], sigma, rows(context, place)) for place in places])

    def _predict(self, x: Tensor, sigma: float, context: Any) -> Tensor:
        scaled, timesteps = self.host.scaled(x, sigma)
        return x - sigma * self.host.unet(scaled, timesteps, **keywords(context))
