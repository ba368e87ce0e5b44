"""What it means that something is on a host's UNet, whichever host it is."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

from torch import nn

from lib_uniid.attention.plan import Plan
from lib_uniid.attention.rows import Role
from lib_uniid.attention.sites import Site
from lib_uniid.errors import UniIDError


@runtime_checkable
class Attachment(Protocol):
    """A plan, or a refusal, on the UNet that a processing object samples from."""

    def holds(self, p: Any) -> bool:
        """Whether it is still on what ``p`` samples from, and nobody has undone a part of it."""
        ...

    def step(self, params: Any) -> None:
        """Note what the host says in ``on_cfg_denoiser``, before each evaluation of the model."""
        ...

    def notes(self) -> list[str]:
        """What should be said under the picture."""
        ...

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        """Which of the rows that the prompt guides is of a picture of the batch; all from 0."""
        ...

    def release(self) -> None:
        """Take everything off; a second time does nothing."""
        ...


class Counter:
    """Counts the calls of the first cross-attention site, and the evaluations that should have called it.

    A host may put a compiled engine in the place of the UNet's own layers; then no site is ever called.
    """

    def __init__(self, sites: tuple[Site, ...], stack: ExitStack) -> None:
        self.calls, self.evaluations = 0, 0
        first = next(site for site in sites if site.cross)
        stack.callback(first.to_q.register_forward_pre_hook(self._count).remove)

    def _count(self, _module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        self.calls += 1

    def notes(self) -> list[str]:
        if self.calls or not self.evaluations:
            return []
        return [
            "nobody was put in: the UNet's own attention layers were never used; switch off the engine "
            "that replaces them (SD Unet in the settings)"
        ]


class Refusal:
    """Makes the host's next call of the UNet raise: an exception in a script's hook would be swallowed."""

    def __init__(self, unet: nn.Module, failure: str) -> None:
        self.unet, self.failure = unet, failure
        self._hook = unet.register_forward_pre_hook(self._raise)
        self._on = True

    def _raise(self, _module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        self.release()
        raise UniIDError(self.failure)

    def holds(self, p: Any) -> bool:
        return self._on and unet_of(p) is self.unet

    def step(self, params: Any) -> None:
        pass

    def notes(self) -> list[str]:
        return []

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        return picture

    def release(self) -> None:
        self._on = False
        self._hook.remove()


class Refused:
    """Stands in the place of what a host goes on with; whatever it does with it raises."""

    def __init__(self, failure: str) -> None:
        self.__dict__["failure"] = failure

    def __getattr__(self, name: str) -> Any:
        raise UniIDError(self.failure)

    def __iter__(self) -> Iterator[Any]:
        raise UniIDError(self.failure)

    def __len__(self) -> int:
        raise UniIDError(self.failure)

    def __getitem__(self, place: Any) -> Any:
        raise UniIDError(self.failure)


class Pause:
    """Nothing, for as long as a UNet is sampled from that people cannot be put on."""

    def __init__(self, unet: nn.Module) -> None:
        self.unet = unet

    def holds(self, p: Any) -> bool:
        return unet_of(p) is self.unet

    def step(self, params: Any) -> None:
        pass

    def notes(self) -> list[str]:
        return []

    def row_of(self, picture: int, pictures: int, rows: int) -> int:
        return picture

    def release(self) -> None:
        pass


def is_forge(p: Any) -> bool:
    """Whether the model is patched through clones (Forge) or hooked as it is (A1111)."""
    return hasattr(p.sd_model, "forge_objects")


def unet_of(p: Any) -> nn.Module:
    """The network that ``p`` samples from now; a refiner or another checkpoint replaces it."""
    model = p.sd_model.forge_objects.unet.model if is_forge(p) else p.sd_model.model
    return model.diffusion_model


def predicts_velocity(p: Any) -> bool:
    """Whether the model says v in the place of the noise; each host keeps that somewhere else."""
    if not is_forge(p):
        return getattr(p.sd_model, "parameterization", "eps") == "v"
    model = p.sd_model.forge_objects.unet.model
    kinds = (
        getattr(getattr(model, "predictor", None), "prediction_type", ""),
        getattr(getattr(model, "model_type", None), "name", "").lower(),  # reForge and Classic
    )
    return "v_prediction" in kinds


def lora_scale(plan: Plan) -> float:
    """How strongly the method's LoRA is merged."""
    return plan.settings.lora_scale


def progress_of(params: Any) -> float:
    """The share of the evaluations done, in [0, 1): ``sampling_step`` lags, so the denoiser's own count."""
    denoiser = params.denoiser
    step, total = getattr(denoiser, "step", None), getattr(denoiser, "total_steps", None)
    if step is None or not total:
        step, total = params.sampling_step, params.total_sampling_steps
    return min(max(step / max(total, 1), 0.0), 1.0)


def untouched(rows: int) -> list[Role]:
    """Roles for rows that nobody has explained: they are left as they are."""
    return [Role.UNTOUCHED] * rows
